"""What people send, checked before anything is kept."""

from agent_image.runner.multi.message import is_multi, read
from appliance.core.errors import BadInput, TooLarge
from appliance.core.task_ledger import ORCHESTRATE

MAX_TEXT = 256 * 1024
MAX_TITLE = 200


def text_of(text: str) -> str:
    """Return a message's text; BadInput or TooLarge when it cannot be one."""
    if not text.strip():
        raise BadInput("The message is empty; write something first.")
    if "\x00" in text:
        raise BadInput("The message contains a NUL character, which cannot be stored.")
    if len(text.encode(errors="surrogatepass")) > MAX_TEXT:
        raise TooLarge(f"The message is longer than {MAX_TEXT // 1024} KiB; shorten it or send it in parts.")
    return text


def role_of(text: str) -> str:
    """Return the role of a message's turn; BadInput names what is wrong with a plan before anything is kept."""
    if not is_multi(text):
        return ""
    read(text)
    return ORCHESTRATE


def client_id_of(client_id: str) -> str:
    """Return the id a client gave its message; BadInput when it cannot be one."""
    if "\x00" in client_id or len(client_id) > MAX_TITLE:
        raise BadInput(f"A client_id has at most {MAX_TITLE} characters, none of them NUL.")
    return client_id


def title_of(title: str) -> str:
    """Return a title without blanks around it; BadInput when it cannot be one."""
    title = title.strip()
    if len(title) > MAX_TITLE:
        raise BadInput(f"The title has {len(title):,} characters; {MAX_TITLE} are allowed.")
    if "\x00" in title:
        raise BadInput("The title contains a NUL character, which cannot be stored.")
    return title
