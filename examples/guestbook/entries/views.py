from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from entries.book import book
from entries.forms import EntryForm

ENTRIES_SHOWN = 50


@require_http_methods(["GET", "HEAD", "POST"])
def index(request):
    entries = book()
    if not entries.is_ready():
        return render(request, "entries/unmigrated.html")
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        entries.write(form)
        return redirect("index")
    return render(request, "entries/index.html", {"form": form, "entries": entries.newest(ENTRIES_SHOWN)})


@require_safe
def health(request):
    return HttpResponse("ok\n", content_type="text/plain")
