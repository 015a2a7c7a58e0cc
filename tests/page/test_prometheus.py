"""The files for Prometheus and Grafana in etc/, checked with Prometheus's own tool."""
import json
import os
import pathlib
import re
import urllib.request

from support.server import REPOSITORY

from page.busy import monitor_url
from page.tools import METRIC, PREFIX, promtool

ETC = pathlib.Path(REPOSITORY, 'etc')
HERE = pathlib.Path(__file__).parent
RULES = ETC / 'prometheus-alerts.yml'
RULE_TESTS = [HERE / 'alerts.yml', HERE / 'alerts-over-days.yml']


def panels():
    """The panels of the dashboard, without its rows."""
    dashboard = json.loads((ETC / 'grafana-dashboard.json').read_text())
    return [panel for panel in dashboard['panels'] if panel['type'] != 'row']


def expressions():
    """What the dashboard asks Prometheus for, with values for its variables."""
    values = {'job': 'zeo', 'instance': '.*', 'storage': '.*', '__rate_interval': '1m'}
    for panel in panels():
        for target in panel['targets']:
            yield re.sub(r'\$(\w+)', lambda name: values[name[1]], target['expr'])


def test_configuration_and_alerts():
    assert 'SUCCESS' in promtool('check', 'config', ETC / 'prometheus.yml')


def test_alerts_fire_when_they_should():
    promtool('test', 'rules', *RULE_TESTS)


def test_each_alert_is_tested():
    named = re.findall(r'alert: (\w+)', RULES.read_text())
    tested = {name for file in RULE_TESTS for name in re.findall(
        r'alertname: (\w+)\n\s+eval_time: \w+\n\s+exp_alerts:\n', file.read_text())}
    assert len(named) == len(set(named)) and set(named) == tested


def test_dashboard(tmp_path):
    """Its queries are correct, and its panels stand side by side without gaps or overlaps."""
    rules = [f'      - {{record: "query:{number}", expr: {json.dumps(query)}}}'
             for number, query in enumerate(expressions())]
    file = os.path.join(tmp_path, 'queries.yml')
    with open(file, 'w') as f:
        f.write('groups:\n  - name: dashboard\n    rules:\n' + '\n'.join(rules) + '\n')
    assert f'{len(rules)} rules found' in promtool('check', 'rules', file)
    taken = set()
    for panel in panels():
        x, y, width, height = (panel['gridPos'][key] for key in 'xywh')
        cells = {(column, row) for column in range(x, x + width) for row in range(y, y + height)}
        assert x + width <= 24 and not cells & taken, panel['title']
        taken |= cells
    numbers = [panel['id'] for panel in panels()]
    assert len(numbers) == len(set(numbers))


def test_metrics_are_those_of_the_server(serve):
    """Every name in the alerts and the dashboard is one that a server tells, and with such labels."""
    server = serve(args=['--monitor', '127.0.0.1:0'])
    with urllib.request.urlopen(f'{monitor_url(server)}metrics') as answer:
        text = answer.read().decode()
    told = set(re.findall(rf'^# TYPE ({PREFIX}\w+)', text, re.MULTILINE))
    histograms = set(re.findall(rf'^# TYPE ({PREFIX}\w+) histogram', text, re.MULTILINE))
    told |= {f'{name}_bucket' for name in histograms}
    used = set(METRIC.findall(RULES.read_text()))
    for query in expressions():
        used |= set(METRIC.findall(query))
    assert used and used <= told, used - told
