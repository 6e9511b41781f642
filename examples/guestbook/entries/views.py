from django.db import connection
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from entries.forms import EntryForm
from entries.models import Entry

ENTRIES_SHOWN = 50


@require_http_methods(["GET", "HEAD", "POST"])
def index(request):
    if Entry._meta.db_table not in connection.introspection.table_names():
        return render(request, "entries/unmigrated.html")
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("index")
    return render(request, "entries/index.html", {"form": form, "entries": Entry.objects.all()[:ENTRIES_SHOWN]})


@require_safe
def health(request):
    return HttpResponse("ok\n", content_type="text/plain")
