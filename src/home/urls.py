"""The addresses of the home page and of what browsers ask for by themselves."""

from django.urls import path

from home.views import favicon, home

urlpatterns = [
    path("", home, name="home"),
    path("favicon.ico", favicon),
]
