"""The composition both web programs start from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from litestar import Litestar, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.response import File
from litestar.types import ASGIApp

from appliance.core.errors import NotFound
from appliance.core.postgres import Postgres
from appliance.core.settings import Settings
from appliance.core.version import VERSION
from appliance.web.auth import Logins
from appliance.web.counted import counted, own_numbers
from appliance.web.pages import LOGIN_PAGES
from appliance.web.problems import HANDLERS
from appliance.web.protection import PUBLIC, Authentication, Protection, cookie_name, with_security_headers
from appliance.web.ready import Check, Measure, healthz, metrics, readyz
from appliance.web.rendering import STATIC, environment

FOR_EVER = "public, max-age=31536000, immutable"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Said here, since a machine's own list may lack them and browsers refuse what is not said."""
LOOK = frozenset(path for path in STATIC.rglob("*") if path.is_file())
"""All that is served: an address names one of these or nothing."""
MAX_BODY = 4 * 1024 * 1024


@get("/static/{digest:str}/{name:path}", opt={PUBLIC: True}, include_in_schema=False, sync_to_thread=False)
def static_file(digest: str, name: Path) -> File:  # noqa: ARG001 - the digest only makes addresses of new content new
    """A file of the look; only what lies in the folder."""
    path = STATIC / str(name).lstrip("/")
    if path not in LOOK:
        raise NotFound()
    kind = KINDS.get(path.suffix, "application/octet-stream")
    return File(path, media_type=kind, content_disposition_type="inline", headers={"Cache-Control": FOR_EVER})


def create_app(  # noqa: PLR0913 - a composition names all its parts
    settings: Settings,
    *,
    postgres: Postgres,
    handlers: Sequence[Any],
    templates: Sequence[Path],
    checks: Mapping[str, Check],
    measure: Measure = own_numbers,
    dependencies: Mapping[str, Provide] | None = None,
    lifespan: Sequence[Any] = (),
    after_exception: Sequence[Any] = (),
) -> ASGIApp:
    """Build a program's application: its handlers behind login, protection, errors and the base page.

    `checks` name the parts without which the program cannot work (`/readyz`); `measure` says its numbers (`/metrics`).
    """
    logins, protection = Logins(postgres), Protection(settings)
    state = {"protection": protection, "nexus_templates": environment(templates), "cookie": cookie_name(settings),
             "secure": settings.public_url.startswith("https"), "models": settings.model_names()}  # fmt: skip
    app = Litestar(
        route_handlers=[static_file, healthz, metrics(measure), readyz(checks), *LOGIN_PAGES, *handlers],
        dependencies={"logins": Provide(lambda: logins, sync_to_thread=False), **(dependencies or {})},
        guards=[protection.guard],
        middleware=[DefineMiddleware(Authentication, settings=settings, logins=logins)],
        exception_handlers=HANDLERS,
        lifespan=list(lifespan),
        after_exception=list(after_exception),
        logging_config=None,
        state=State(state),
        request_max_body_size=MAX_BODY,
        openapi_config=OpenAPIConfig(
            title="Nexus", version=VERSION, path="/api/schema", render_plugins=(JsonRenderPlugin(),)
        ),
        signature_types=[Logins],
    )
    # Around everything, so that even "no such page" carries them.
    return with_security_headers(counted(app))
