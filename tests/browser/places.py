"""Every page there is, in each of its forms: for the tests that walk them all and for the screenshots."""

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page, expect


def nothing(page: Page) -> None:
    """The page is as it is wanted when it is there."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A page: what it is called, where it is, who looks, and what they do before it looks as wanted."""

    name: str
    path: str
    who: str | None = "acme_operator"
    then: Callable[[Page], None] = nothing
    status: int = 200


def dry_run(page: Page) -> None:
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("heading", name="Dry run")).to_be_visible()


def wrong_form(page: Page) -> None:
    page.get_by_label("Deadline").fill("soon")
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was started")


def traceback(page: Page) -> None:
    page.get_by_text("Traceback of task").first.click()


def in_figures(page: Page) -> None:
    page.get_by_text("In figures").click()
    expect(page.get_by_role("region", name="Tasks by state over time")).to_be_visible()


def keys(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def cancelling(page: Page) -> None:
    page.get_by_text("Cancel batch…").click()
    expect(page.get_by_label("Why it is to be cancelled")).to_be_visible()


def again(page: Page) -> None:
    page.get_by_text("Launch again…").click()
    expect(page.get_by_role("button", name="Launch again")).to_be_visible()


def settling(page: Page) -> None:
    page.get_by_text("Mark as put right…").click()
    expect(page.get_by_label("What was put right, and how")).to_be_visible()


def wrong_declaration(page: Page) -> None:
    page.get_by_label("Lost").check()
    page.get_by_label("typed").fill("something else")
    page.get_by_label("Reason").fill("The disk is gone")
    page.get_by_role("button", name="Declare 12 tasks").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was declared")


def wrong_password(page: Page) -> None:
    page.get_by_label("Username").fill("acme_operator")
    page.get_by_label("Password").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()


def pages(ids: dict[str, str]) -> list[Place]:
    """The product's own pages, on the history of `tests.services.history`."""
    failed = f"/c/acme/b/{ids['acme: Accounts from the old system']}/"
    good = f"/c/acme/b/{ids['acme: Nightly load, night 18']}/"
    mixed = f"/c/globex/b/{ids['globex: Ledger of the third quarter']}/"
    refused = f"/c/acme/b/{ids['acme: Everything at once']}/"
    over = f"{mixed}declare"
    return [
        Place(name="sign-in", path="/accounts/login/", who=None),
        Place(name="sign-in-refused", path="/accounts/login/", who=None, then=wrong_password),
        Place(name="not-found", path="/c/nobody/", status=404),
        Place(name="not-allowed", path="/c/acme/new/", who="acme_staff", status=403),
        Place(name="customers", path="/", who="admin"),
        Place(name="customer", path="/c/acme/"),
        Place(name="customer-found", path="/c/acme/?outcome=ROLLED_BACK&q=accounts"),
        Place(name="customer-found-nothing", path="/c/acme/?q=no+batch+is+called+so"),
        Place(name="customer-new", path="/c/initech/", who="initech_operator"),
        Place(name="attention", path="/attention/", who="admin"),
        Place(name="attention-none", path="/attention/", who="initech_operator"),
        Place(name="declare-nothing", path=over, who="admin"),
        Place(name="batch-settle", path=mixed, who="admin", then=settling),
        Place(name="start", path="/c/acme/new/"),
        Place(name="start-no-such-plan", path="/c/acme/new/?plan=nothing", status=404),
        Place(name="start-dry-run", path="/c/acme/new/", then=dry_run),
        Place(name="start-wrong", path="/c/acme/new/", then=wrong_form),
        Place(name="batch-rolled-back", path=failed),
        Place(name="batch-table", path=f"{failed}?tab=table&q=write&sort=-number"),
        Place(name="batch-errors", path=f"{failed}?tab=errors", then=traceback),
        Place(name="batch-timeline", path=f"{failed}?tab=timeline", then=in_figures),
        Place(name="batch-journal", path=f"{failed}?tab=journal"),
        Place(name="batch-task", path=f"{failed}?task=78"),
        Place(name="batch-failed-only", path=f"{failed}?tab=table&state=failed"),
        Place(name="batch-keys", path=failed, then=keys),
        Place(name="batch-again", path=failed, then=again),
        Place(name="batch-committed", path=good),
        Place(name="batch-mixed", path=mixed, who="globex_operator"),
        Place(name="batch-refused", path=refused),
    ]


def open_pages(ids: dict[str, str]) -> list[Place]:
    """Batches that have not ended: those of `history.seed_open`."""
    return [
        Place(name="batch-running", path=f"/c/acme/b/{ids['acme: Nightly load, tonight']}/"),
        Place(name="batch-committing", path=f"/c/acme/b/{ids['acme: Orders of the week']}/"),
        Place(name="batch-committing-timeline", path=f"/c/acme/b/{ids['acme: Orders of the week']}/?tab=timeline"),
        *unresolved_pages(ids["globex: Contracts"]),
        Place(name="batch-waiting", path=f"/c/acme/b/{ids['acme: Returns']}/"),
        Place(name="batch-cancel", path=f"/c/acme/b/{ids['acme: Returns']}/", then=cancelling),
        Place(
            name="batch-rolling-back", path=f"/c/globex/b/{ids['globex: Invoices']}/?tab=errors", who="globex_operator"
        ),
    ]


def unresolved_pages(batch: str) -> list[Place]:
    """What there is about a batch of globex that is decided and does not end: 12 of its tasks wait."""
    page = f"/c/globex/b/{batch}/"
    return [
        Place(name="attention-open", path="/attention/", who="admin"),
        Place(name="declare", path=f"{page}declare", who="admin"),
        Place(name="declare-narrowed", path=f"{page}declare?tasks=40-42", who="admin"),
        Place(name="batch-unresolved", path=page, who="admin"),
    ]


def wrong_pages(batch: str) -> list[Place]:
    """What is answered with an error on the way, of which the browser complains: drawn, not walked."""
    return [Place(name="declare-wrong", path=f"/c/globex/b/{batch}/declare", who="admin", then=wrong_declaration)]


def admin_pages(ids: dict[str, str]) -> list[Place]:
    """The admin, as staff of one customer see it."""
    failed = ids["acme: Accounts from the old system"]
    return [
        Place(name="admin", path="/admin/", who="acme_staff"),
        Place(name="admin-batches", path="/admin/coordination/batch/", who="acme_staff"),
        Place(name="admin-batch", path=f"/admin/coordination/batch/{failed}/change/", who="acme_staff"),
        Place(name="admin-tasks", path=f"/admin/coordination/branch/?batch__id__exact={failed}", who="acme_staff"),
        Place(name="admin-journal", path="/admin/coordination/journalentry/", who="acme_staff"),
    ]
