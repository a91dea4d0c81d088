"""Asks a Prometheus that scrapes a server: each expression of the dashboard and of the samples, and whether all comes out as it is there.

check.py DEPLOY SERVER PROMETHEUS
"""

import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

DEPLOY, SERVER, PROMETHEUS = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
POOL = "developer_pool"
# Expressions of which nothing is there in a server that is well: each has a filter, or counts what has not happened.
QUIET = re.compile(r"(==|>|<) ?[\w+]+\)?$|agents_lacking|host_pressure|== 1")


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def query(expression):
    _, text = get(f"{PROMETHEUS}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    return json.loads(text)["data"]["result"]


def until(what, found, seconds=20):
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = found()
        if result:
            return result
        time.sleep(0.2)
    _, targets = get(f"{PROMETHEUS}/api/v1/targets")
    sys.exit(f"not within {seconds} s: {what}\n{targets}")


def expressions():
    """The expressions of the dashboard, with its variables filled in."""
    dashboard = json.loads((DEPLOY / "grafana" / "muster.json").read_text())
    filled = {"$job": "muster", "$pool": ".*", "$__rate_interval": "10s"}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in filled.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


def sample(name):
    return (DEPLOY / "kubernetes" / name).read_text()


def refused_without_a_key():
    try:
        get(f"{SERVER}/metrics")
    except urllib.error.HTTPError as error:
        assert error.code == 401, error
    else:
        sys.exit("/metrics is there without a key")


def page():
    """OpenMetrics is what a scraper gets that asks for it."""
    kind, text = get(f"{SERVER}/metrics", Authorization="Bearer secret", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text; version=1.0.0"), kind
    assert text.endswith("\n# EOF\n"), text[-100:]
    return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}


def desired():
    """The samples for Kubernetes, of this server's pool: what they ask for is the number that was said."""
    asked = re.search(r"^ +query: (.*)$", sample("keda-prometheus.yaml"), re.M)[1].replace("coders", POOL)
    until(asked, lambda: [row["value"][1] for row in query(asked)] == ["2"])
    text = sample("keda-metrics-api.yaml")
    path = re.search(r"^ +url: http://[^/]+(\S+)", text, re.M)[1].replace("coders", POOL)
    place = re.search(r"^ +valueLocation: (\w+)", text, re.M)[1]
    _, answer = get(SERVER + path, Authorization="Bearer secret")
    assert json.loads(answer)[place] == 2, answer
    text = sample("hpa.yaml")
    series = re.search(r"metricsQuery: '(.*)'", text)[1]
    matchers = re.findall(r"^ {14}(\w+): (\w+)$", text, re.M)
    assert [name for name, _ in matchers] == ["job", "pool"], matchers
    labels = ",".join(f'{name}="{value.replace("coders", POOL)}"' for name, value in matchers)
    name = re.search(r"^ +name: (muster_\w+)$", text, re.M)[1]
    asked = series.replace("<<.Series>>", name).replace("<<.LabelMatchers>>", labels)
    assert [row["value"][1] for row in query(asked)] == ["2"], asked


def main():
    refused_without_a_key()
    until("the server is scraped", lambda: query('up{job="muster"} == 1'))
    until("what was measured is there", lambda: query("muster_pool_tree_memory_bytes"))
    until("rates are known", lambda: query(f'rate(muster_tasks_submitted_total{{pool="{POOL}"}}[10s])'))
    names = page()
    known = '{job="muster", __name__=~"(muster|process)_.*"}'
    until("every name is scraped", lambda: names <= {row["metric"]["__name__"] for row in query(known)})
    count = 0
    for title, expression in expressions():
        rows = query(expression)
        assert rows or QUIET.search(expression), f"{title}: nothing for {expression}"
        count += 1
    desired()
    rules = json.loads(get(f"{PROMETHEUS}/api/v1/rules")[1])["data"]["groups"]
    wrong = [rule["name"] for group in rules for rule in group["rules"] if rule["health"] == "err"]
    assert not wrong, wrong
    print(f"{len(names)} names are scraped, {count} expressions of the dashboard are answered, the samples for Kubernetes say 2")


main()
