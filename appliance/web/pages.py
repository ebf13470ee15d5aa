"""Signing in and out, and one's own account."""

from typing import Any

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Redirect, Response

from appliance.core.errors import BadInput, Overloaded, Unauthenticated
from appliance.web.auth import LOGIN_LIFE_S, Logins
from appliance.web.problems import wants_page
from appliance.web.protection import PUBLIC, readable_form
from appliance.web.rendering import page

Service = NamedDependency[SkipValidation[Logins]]
Asked = Request[Any, Any, Any]


@get("/login", opt={PUBLIC: True}, include_in_schema=False)
async def login_page(request: Asked) -> Response[str]:
    """Name and password."""
    return page(request, "login.html", name="", refused="")


@post("/login", opt={PUBLIC: True}, include_in_schema=False)
async def login(request: Asked, logins: Service) -> Response[Any]:
    """Sign in with name and password."""
    form = await readable_form(request)
    name = str(form.get("name", ""))
    try:
        return _signed_in(request, await logins.sign_in(name, str(form.get("password", ""))))
    except (Unauthenticated, Overloaded) as error:
        if not wants_page(request):
            raise
        return page(request, "login.html", status=error.status, name=name, refused=error.detail)


@get("/login/{link:str}", opt={PUBLIC: True}, include_in_schema=False)
async def login_by_link(request: Asked, logins: Service, link: str) -> Redirect:
    """Sign in with a single-use link; one that a browser fetches ahead of its reader is not used up."""
    if "prefetch" in request.headers.get("sec-purpose", ""):
        raise Overloaded("A sign-in link is used when it is opened, not before.")
    return _signed_in(request, await logins.use_link(link))


@post("/logout", include_in_schema=False)
async def logout(request: Asked, logins: Service) -> Redirect:
    """End this login."""
    await logins.sign_out(request.auth)
    return _signed_out(request)


@post("/logout/everywhere", include_in_schema=False)
async def logout_everywhere(request: Asked, logins: Service) -> Redirect:
    """End all logins of this person, in every browser."""
    await logins.sign_out_everywhere(request.user)
    return _signed_out(request)


@get("/account", include_in_schema=False)
async def account(request: Asked) -> Response[str]:
    """One's own account."""
    return page(request, "account.html", said="", refused="")


@post("/account/password", include_in_schema=False, status_code=200)
async def password(request: Asked, logins: Service) -> Response[str]:
    """Set a password, to sign in without a link; every other login ends."""
    form = await readable_form(request)
    try:
        await logins.set_password(request.user, str(form.get("password", "")), keep=request.auth)
    except BadInput as error:
        if not wants_page(request):
            raise
        return page(request, "account.html", status=error.status, said="", refused=error.detail)
    return page(request, "account.html", said="The password is set; every other sign-in has ended.", refused="")


def _signed_in(request: Asked, token: str) -> Redirect:
    state = request.app.state
    answer = Redirect("/", status_code=303)
    answer.set_cookie(
        state["cookie"], token, max_age=LOGIN_LIFE_S, httponly=True, samesite="lax", secure=state["secure"], path="/"
    )
    return answer


def _signed_out(request: Asked) -> Redirect:
    answer = Redirect("/login", status_code=303)
    answer.delete_cookie(request.app.state["cookie"])
    return answer


LOGIN_PAGES = [login_page, login, login_by_link, logout, logout_everywhere, account, password]
