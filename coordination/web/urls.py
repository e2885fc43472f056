"""Addresses of the pages. Include them at the root of a project's addresses: what commands print leads here."""

from django.urls import path

from coordination.web import actions, attention, batches, customers, data, declare, health, starting

app_name = "coordination"

urlpatterns = [
    path("", customers.customers, name="customers"),
    path("state", customers.customers_state, name="customers_state"),
    path("attention/", attention.page, name="attention"),
    path("attention/state", attention.state, name="attention_state"),
    path("c/<slug:slug>/", customers.customer, name="customer"),
    path("c/<slug:slug>/state", customers.customer_state, name="customer_state"),
    path("c/<slug:slug>/new/", starting.new, name="new"),
    path("c/<slug:slug>/b/<uuid:batch>/", batches.batch, name="batch"),
    path("c/<slug:slug>/b/<uuid:batch>/cancel", actions.cancel, name="cancel"),
    path("c/<slug:slug>/b/<uuid:batch>/relaunch", actions.relaunch, name="relaunch"),
    path("c/<slug:slug>/b/<uuid:batch>/declare", declare.declare, name="declare"),
    path("c/<slug:slug>/b/<uuid:batch>/retry", declare.retry, name="retry"),
    path("c/<slug:slug>/b/<uuid:batch>/settle", declare.settle, name="settle"),
    path("c/<slug:slug>/b/<uuid:batch>/part/<slug:name>", batches.part, name="part"),
    path("c/<slug:slug>/b/<uuid:batch>/state", data.state, name="state"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("coordination/states.css", data.states, name="states"),
]
