"""Signing in and out, and one's own account."""

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import Dependency
from litestar.response import Redirect, Response

from appliance.web.auth import LOGIN_LIFE_S, Logins
from appliance.web.protection import PUBLIC, readable_form
from appliance.web.rendering import page

Service = Annotated[Logins, Dependency(skip_validation=True)]
Asked = Request[Any, Any, Any]


@get("/login", opt={PUBLIC: True}, include_in_schema=False)
async def login_page(request: Asked) -> Response[str]:
    """Name and password."""
    return page(request, "login.html")


@post("/login", opt={PUBLIC: True}, include_in_schema=False)
async def login(request: Asked, logins: Service) -> Redirect:
    """Sign in with name and password."""
    form = await readable_form(request)
    token = await logins.sign_in(str(form.get("name", "")), str(form.get("password", "")))
    return _signed_in(request, token)


@get("/login/{link:str}", opt={PUBLIC: True}, include_in_schema=False)
async def login_by_link(request: Asked, logins: Service, link: str) -> Redirect:
    """Sign in with a single-use link."""
    return _signed_in(request, await logins.use_link(link))


@post("/logout", include_in_schema=False)
async def logout(request: Asked, logins: Service) -> Redirect:
    """End this login."""
    await logins.sign_out(request.auth)
    answer = Redirect("/login", status_code=303)
    answer.delete_cookie(request.app.state["cookie"])
    return answer


@get("/account", include_in_schema=False)
async def account(request: Asked) -> Response[str]:
    """One's own account."""
    return page(request, "account.html", saved=False)


@post("/account/password", include_in_schema=False, status_code=200)
async def password(request: Asked, logins: Service) -> Response[str]:
    """Set a password, to sign in without a link."""
    form = await readable_form(request)
    await logins.set_password(request.user, str(form.get("password", "")))
    return page(request, "account.html", saved=True)


def _signed_in(request: Asked, token: str) -> Redirect:
    state = request.app.state
    answer = Redirect("/", status_code=303)
    answer.set_cookie(
        state["cookie"], token, max_age=LOGIN_LIFE_S, httponly=True, samesite="lax", secure=state["secure"], path="/"
    )
    return answer


LOGIN_PAGES = [login_page, login, login_by_link, logout, account, password]
