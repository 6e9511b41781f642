from django.db import models


class Entry(models.Model):
    name = models.CharField(max_length=60)
    message = models.TextField(max_length=500)
    written = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-written", "-id"]

    def __str__(self):
        return f"{self.name}, {self.written:%Y-%m-%d}"
