"""Debian's Chromium without a window, led by the Chrome DevTools protocol over a pair of pipes."""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading

from .server import PATIENCE, wait_until

OPTIONS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
           '--disable-background-networking', '--disable-component-update', '--disable-sync',
           '--disable-dev-shm-usage', '--hide-scrollbars', '--remote-debugging-pipe']


def chromium():
    """The path of the browser, or None."""
    return shutil.which('chromium')


class Browser:
    """A browser with one page. `complaints` are the errors that the page has caused so far: scripts
    that failed, and what its Content-Security-Policy has stopped."""

    def __init__(self, width=1280, height=900):
        self._profile = tempfile.TemporaryDirectory(prefix='chromium-')
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # Chromium reads commands from descriptor 3 and writes to 4.
        self._process = subprocess.Popen(
            ['bash', '-c', f'exec "$@" 3<&{commands} 4>&{answers}', 'chromium', chromium(), *OPTIONS,
             f'--user-data-dir={self._profile.name}', 'about:blank'],
            pass_fds=(commands, answers), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        self.complaints, self.requests = [], []
        self._results, self._changed, self._ended = {}, threading.Condition(), False
        self._last_id, self._session, self._loaded = 0, None, 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(self._pages, lambda: 'chromium has opened no page')
        target = self._pages()[0]['targetId']
        attached = self.command('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in 'Page', 'Runtime', 'Log', 'Network':
            self.command(f'{domain}.enable')
        self.resize(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Ends the browser."""
        self._session = None
        try:
            self.command('Browser.close')
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            os.close(self._commands)
            os.close(self._answers)
            self._profile.cleanup()

    def open(self, url):
        """Goes to a page, and waits until it is there."""
        before = self._loaded
        failed = self.command('Page.navigate', url=url).get('errorText')
        assert not failed, failed
        wait_until(lambda: self._loaded > before, lambda: f'{url} was not loaded')

    def resize(self, width, height, phone=False):
        """Gives the page this many CSS pixels."""
        self.command('Emulation.setDeviceMetricsOverride', width=width, height=height,
                     deviceScaleFactor=2 if phone else 1, mobile=phone)

    def prefer(self, scheme):
        """The user's preference, 'light' or 'dark'."""
        self.command('Emulation.setEmulatedMedia',
                     features=[{'name': 'prefers-color-scheme', 'value': scheme}])

    def evaluate(self, script):
        """The value of an expression in the page; a promise is waited for."""
        done = self.command('Runtime.evaluate', expression=script, returnByValue=True,
                            awaitPromise=True)
        assert 'exceptionDetails' not in done, done['exceptionDetails']
        return done['result'].get('value')

    def text(self, selector='body'):
        """What a person can read there."""
        return self.evaluate(f'document.querySelector({json.dumps(selector)})?.innerText ?? ""')

    def wait_for(self, script):
        """Waits until an expression is true in the page."""
        wait_until(lambda: self.evaluate(f'!!({script})'),
                   lambda: f'{script}\n{self.text()}\n{self.complaints}')

    def screenshot(self, path):
        """Writes a PNG file of what is seen."""
        image = self.command('Page.captureScreenshot', format='png')['data']
        with open(path, 'wb') as f:
            f.write(base64.b64decode(image))

    def command(self, method, **params):
        """Sends a command of the protocol, returns its result."""
        with self._changed:
            self._last_id += 1
            number = self._last_id
            message = {'id': number, 'method': method, 'params': params}
            if self._session:
                message['sessionId'] = self._session
            os.write(self._commands, json.dumps(message).encode() + b'\0')
            come = self._changed.wait_for(lambda: number in self._results or self._ended, PATIENCE)
            assert come and not self._ended, f'chromium does not answer {method}'
            answer = self._results.pop(number)
        assert 'error' not in answer, (method, answer['error'])
        return answer['result']

    def _pages(self):
        targets = self.command('Target.getTargets')['targetInfos']
        return [target for target in targets if target['type'] == 'page']

    def _read(self):
        rest = b''
        while data := os.read(self._answers, 1 << 16):
            *messages, rest = (rest + data).split(b'\0')
            for message in map(json.loads, messages):
                with self._changed:
                    self._take(message)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, message):
        match message.get('method'):
            case None:
                self._results[message['id']] = message
            case 'Page.loadEventFired':
                self._loaded += 1
            case 'Runtime.exceptionThrown':
                self.complaints.append(message['params']['exceptionDetails'])
            case 'Log.entryAdded' if message['params']['entry']['source'] != 'network':
                self.complaints.append(message['params']['entry'])
            case 'Network.requestWillBeSent':
                self.requests.append(message['params']['request']['url'])
