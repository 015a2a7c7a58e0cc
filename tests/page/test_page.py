"""The monitor's page in a browser, beside a server that is at work."""
import pytest
from support.browser import Browser
from support.ports import free_port
from support.server import wait_until

from page.busy import HOLDER, HOSTILE, Busy, monitor_url
from page.tools import require


@pytest.fixture
def browser():
    require('chromium')
    with Browser() as browser:
        yield browser
        # Neither a script that failed, nor anything that the page's policy had to stop.
        assert browser.complaints == []


@pytest.fixture
def monitor(serve):
    """A server whose transactions may take long, with a monitor: a function that starts it."""
    address = f'127.0.0.1:{free_port()}'

    def start():
        return serve(args=['--monitor', address], transaction_timeout=600)

    return start


def cells(browser, table, columns=2):
    """The first cells of each row of a table."""
    return browser.evaluate(
        f'Array.from(document.querySelectorAll("#{table} tbody tr"), (row) =>'
        f' Array.from(row.cells, (cell) => cell.innerText).slice(0, {columns}))')


def test_who_holds_locks_and_who_waits(monitor, browser):
    busy = Busy(server := monitor())
    try:
        browser.open(monitor_url(server))
        browser.wait_for('document.querySelector("#chart-commits dd").innerText.endsWith("/s")')
        busy.hold()
        busy.wait()
        busy.pack()
        # The three that commit, and the one with the hostile name.
        browser.wait_for('document.querySelectorAll("#locks-table .waiter").length === 4')
        browser.wait_for('document.querySelector("#verdict-text").innerText.startsWith("4 clients wait for")')
        check_locks(browser)
        check_hostile_name(browser)
        browser.wait_for('!document.querySelector("#pack-list progress").hidden')
        assert 'since' in browser.text('#pack-list')
        busy.finish()
        browser.wait_for('document.querySelectorAll("#locks-table .blocker").length === 0')
        browser.wait_for('document.querySelector("#verdict").dataset.state === "ok"')
        browser.wait_for('document.querySelector("#pack-list progress").hidden')
        wait_until(lambda: '1 complete' in browser.text('#pack-list'))
    finally:
        busy.close()


def check_locks(browser):
    assert HOLDER in browser.text('#verdict-text')
    names = [name for name, *_ in cells(browser, 'locks-table')]
    assert names[0] == HOLDER and {'plone 0', 'plone 1', 'plone 2'} < set(names)
    holder = browser.text('#locks-table .blocker')
    assert 'voted, holds up 4' in holder and '/site/import, admin' in holder
    assert browser.evaluate('document.title').startswith(('○', '●'))


def check_hostile_name(browser):
    """It is shown as it is, but for the character that turns the direction of the text."""
    shown = HOSTILE.replace('\u202e', '\\u{202e}')
    for table in 'locks-table', 'clients-table':
        assert shown in [name for name, *_ in cells(browser, table)]
    assert '<b>edit</b>' in browser.text('#locks-table')
    assert browser.evaluate('document.images.length + document.scripts.length') == 1


def test_clients_are_sorted_and_filtered(monitor, browser):
    busy = Busy(server := monitor())
    try:
        browser.open(monitor_url(server))
        wait_until(lambda: len(cells(browser, 'clients-table')) == 4)
        heads = 'document.querySelectorAll("#clients-table th button")'
        names = ['plone 0', 'plone 1', 'plone 2', HOLDER]
        for order, names in ('ascending', names), ('descending', names[::-1]):
            browser.evaluate(f'{heads}[0].click()')
            assert [name for name, *_ in cells(browser, 'clients-table')] == names
            assert browser.evaluate(f'{heads}[0].parentNode.getAttribute("aria-sort")') == order
        browser.evaluate('(() => { const filter = document.querySelector("#filter");'
                         ' filter.value = "LOCKS that"; filter.dispatchEvent(new Event("input")); })()')
        assert [name for name, *_ in cells(browser, 'clients-table')] == [HOLDER]
        assert browser.text('#clients-count') == '1 of 4 shown'
    finally:
        busy.close()


def test_a_server_that_does_not_answer(monitor, browser):
    """The page says since when, shows old values as such, and goes on when there is one again."""
    server = monitor()
    browser.open(monitor_url(server))
    browser.wait_for('document.querySelector("#live").innerText === "Live"')
    assert '1' in browser.text('#storages-table tbody')
    server.stop()
    browser.wait_for('document.body.classList.contains("stale")')
    browser.wait_for('document.querySelector("#verdict-text").innerText.includes("not answered since")')
    assert browser.text('#live') == 'No answer'
    assert '1' in browser.text('#storages-table tbody')
    again = monitor()
    browser.wait_for('document.querySelector("#live").innerText === "Live"')
    assert not browser.evaluate('document.body.classList.contains("stale")')
    browser.wait_for(f'document.querySelector("#process").innerText.includes("process {again.pid}")')


def test_it_is_still_when_it_is_paused_or_hidden(monitor, browser):
    server = monitor()
    browser.open(monitor_url(server))
    browser.wait_for('document.querySelector("#live").innerText === "Live"')
    hide = ('Object.defineProperty(document, "hidden", {{ value: {}, configurable: true }});'
            ' document.dispatchEvent(new Event("visibilitychange"))')
    press = 'document.querySelector("#pause").click()'
    for stop, go_on in [(press, press), (hide.format('true'), hide.format('false'))]:
        browser.evaluate(stop)
        # What was under way may still end; after that, nothing more is asked.
        browser.evaluate('new Promise((done) => setTimeout(done, 500))')
        asked = len(browser.requests)
        browser.evaluate('new Promise((done) => setTimeout(done, 3000))')
        assert len(browser.requests) == asked
        browser.evaluate(go_on)
        wait_until(lambda: len(browser.requests) > asked)
    origin = monitor_url(server)
    assert set(browser.requests) == {origin, f'{origin}status.json'}


def test_narrow_and_dark(monitor, browser):
    """On a phone, nothing but tables is wider than the screen; each text can be read."""
    browser.open(monitor_url(monitor()))
    for scheme in 'light', 'dark':
        browser.prefer(scheme)
        for width in 320, 1280:
            browser.resize(width, 700, phone=width < 500)
            browser.wait_for('document.querySelector("#live").innerText === "Live"')
            assert browser.evaluate('document.documentElement.scrollWidth') == width
            assert browser.evaluate(CONTRASTS) == []


# Elements whose text has a contrast of less than 4.5 to the ground that it stands on.
CONTRASTS = '''(() => {
  const part = (value) => (value /= 255, value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const [r, g, b, alpha = 1] = numbers(getComputedStyle(element).backgroundColor);
      if (alpha > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const texts = Array.from(document.querySelectorAll('body *'))
    .filter((element) => element.checkVisibility() && element.innerText?.trim() && !element.children.length);
  const weak = texts.filter((element) => {
    const [a, b] = [light(ground(element)), light(numbers(getComputedStyle(element).color))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
  });
  return texts.length > 30 ? weak.map((element) => element.innerText) : ['few texts'];
})()'''
