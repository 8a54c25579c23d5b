"""URLs of the home page and of the icon that browsers request by themselves."""

from django.urls import path

from home.views import favicon, home

urlpatterns = [
    path("", home, name="home"),
    path("favicon.ico", favicon),
]
