"""`/multi` as a person sees it: sub-agents at work, their results, one answer."""

from playwright.async_api import expect

from appliance.core.records import Agent
from tests.cluster import Cluster
from tests.e2e.conftest import Tab
from tests.e2e.test_chat import ask, turn_done
from tests.waiting import wait_until

PLAN = """/multi Which store shall we take?
- facts = researcher: Collect facts [[tokens=80 delay=50ms word=fact]]
- critic = reviewer (after facts): Find flaws [[tokens=5 word=flaw]]"""


async def test_sub_agents_are_seen_at_work_and_open_to_what_they_found(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await ask(page, cluster, PLAN)
    facts, critic = page.locator('[data-child="facts"]'), page.locator('[data-child="critic"]')
    await expect(critic).to_contain_text("waits for facts")
    await expect(facts).to_contain_text("works")
    await expect(facts).to_contain_text("agent-")
    await turn_done(page)
    for child in (facts, critic):
        await expect(child).to_have_attribute("data-state", "done")
        await expect(child).to_contain_text("tokens")
    await critic.locator("summary").click()
    await expect(critic.locator(".found")).to_contain_text("flaw1 flaw2")
    assert (await page.locator(".turn > .assistant .rich").inner_text()).strip()
    await page.reload()
    await expect(page.locator('[data-child="critic"] .found')).to_have_text("flaw1 flaw2 flaw3 flaw4 flaw5")


async def test_a_plan_that_cannot_be_is_named_and_stays_in_the_box(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await page.goto(f"{cluster.url}/new")
    await page.fill("#text", "/multi Go\n- wizard: magic")
    await page.press("#text", "Enter")
    await expect(page.locator("#banner")).to_contain_text("there is no role 'wizard'")
    assert await page.locator("#text").input_value() == "/multi Go\n- wizard: magic"


async def test_killing_the_primary_in_the_middle_changes_nothing_but_the_timeline(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await ask(page, cluster, PLAN)
    await expect(page.locator('[data-child="facts"]')).to_contain_text("works")
    view = await cluster.view()
    lost = next(it for it in view.agents if it.id == view.primary_id)
    await cluster.kill(lost.id)
    await turn_done(page, within_s=60)
    await expect(page.locator('[data-child="critic"]')).to_have_attribute("data-state", "done")
    await expect(page.locator(".losses")).to_contain_text("took over")
    cluster.start_agent(lost.id)

    async def back() -> Agent | None:
        agent = (await cluster.view()).agent(lost.id)
        return agent if agent and agent.boot != lost.boot and agent.status == "active" else None

    await wait_until(back, of="the agent's return")
