"""Sessions and tasks."""

from tests.fakes.xapi import xml
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.kinds import Kind, Value, write
from tests.fakes.xapi.state import Ask, State, now


def login(ask: Ask, user: str, password: str, _version: str, originator: str) -> str:
    """session.login_with_password: only the master takes it."""
    settings = ask.state.settings
    if ask.host:
        raise Failure("HOST_IS_SLAVE", settings.hosts[0].address)
    if (user, password) != (settings.user, settings.password):
        raise Failure("SESSION_AUTHENTICATION_FAILED", user, "Authentication failure")
    return ask.db.add(
        "session",
        this_host=ask.state.hosts[0],
        is_local_superuser=True,
        originator=originator,
        pool=False,
        last_active=now(),
    )


def logout(ask: Ask) -> None:
    """session.logout."""
    ask.db.drop("session", ask.session)


def check(ask: Ask) -> None:
    """Refuse what is no session, and any at a slave."""
    if not ask.db.has("session", ask.session):
        raise Failure("SESSION_INVALID", ask.session)
    if ask.host:
        raise Failure("HOST_IS_SLAVE", ask.state.settings.hosts[0].address)


def create(ask: Ask, label: str, description: str) -> str:
    """task.create."""
    return started(ask.state, label, description, ask.session)


def started(state: State, label: str, description: str = "", session: str = "") -> str:
    """Return a pending task."""
    given = {"session": session} if session else {}
    return state.db.add(
        "task",
        name_label=label,
        name_description=description,
        created=now(),
        status="pending",
        type="<none/>",
        resident_on=state.hosts[0],
        **given,
    )


def destroy(ask: Ask, task: str) -> None:
    """task.destroy: a pending one goes when it ends."""
    if ask.db.get("task", task, "status") == "pending":
        ask.db.set("task", task, current_operations={"task": "destroy"})
    else:
        ask.db.drop("task", task)


def cancel(ask: Ask, task: str) -> None:
    """task.cancel: noted; an import does not look."""
    ask.db.set("task", task, current_operations={task: "cancel"})


def complete(state: State, task: str, result: str = "") -> None:
    """End a task well; the result is XML-RPC's text of a value."""
    _end(state, task, status="success", result=result)


def fail(state: State, task: str, failure: Failure) -> None:
    """End a task badly."""
    _end(state, task, status="failure", error_info=failure.description)


def text(result: Kind, value: Value) -> str:
    """Return a value as a task holds it: XML, or nothing."""
    if result.name == "void":
        return ""
    return xml.value(write(result, value, xml=True))


def field(name: str) -> object:
    """Return what sets a field of a task."""

    def change(ask: Ask, task: str, value: Value) -> None:
        ask.db.set("task", task, **{name: value})

    return change


def _end(state: State, task: str, **fields: Value) -> None:
    with state.db.lock:
        if not state.db.has("task", task) or state.db.get("task", task, "status") != "pending":
            return
        state.db.set("task", task, progress=1.0, finished=now(), allowed_operations=[], **fields)
        if state.db.get("task", task, "current_operations").get("task") == "destroy":
            state.db.drop("task", task)


def server_certificate(ask: Ask, host: str) -> str:
    """host.get_server_certificate: what that host shows to clients, PEM."""
    return ask.state.certificates[ask.state.hosts.index(host)]


SERVED = {
    "session.login_with_password": login,
    "session.logout": logout,
    "session.get_all_subject_identifiers": lambda _: [],
    "task.create": create,
    "task.cancel": cancel,
    "task.set_status": field("status"),
    "task.set_progress": field("progress"),
    "task.set_result": field("result"),
    "task.set_error_info": field("error_info"),
    "task.destroy": destroy,
    "host.get_server_certificate": server_certificate,
    "host.get_servertime": lambda *_: now(),
}
