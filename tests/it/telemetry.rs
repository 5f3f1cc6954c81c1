//! What Prometheus gets: its text format, names, units, labels, and the files that use them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use proof_storage::config::Config;
use proof_storage::model::{ErrorKind, Provider};
use proof_storage::telemetry::{
    AuditLine, BreakerState, CredentialSource, Denial, HandshakeFailure, Label as _, MemberFigures,
    Method, Metrics, Operation, Outcome, PoolFigures, Refusal, Retried, Route, init_logging,
};

/// One series' name with everything scraped under it.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

type Families = BTreeMap<String, Family>;

/// Reads the text format 0.0.4, strictly: HELP, then TYPE, then samples, one block a name.
fn parse(text: &str) -> Result<Families, String> {
    let mut families = Families::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fail = |why: &str| Err(format!("{why}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("HELP without a text")?;
            if families.contains_key(name) {
                return fail("a second block");
            }
            current = name.to_owned();
            families.entry(current.clone()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("TYPE without a kind")?;
            if name != current {
                return fail("TYPE without HELP before it");
            }
            families.entry(current.clone()).or_default().kind = kind.to_owned();
        } else if line.starts_with('#') {
            return fail("a comment of no known kind");
        } else {
            let sample = sample(line)?;
            let family = families.get_mut(&current).ok_or("a sample before any HELP")?;
            let suffixes: &[&str] = match family.kind.as_str() {
                "counter" | "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => return fail("a kind that we do not use"),
            };
            let suffix = sample.name.strip_prefix(current.as_str());
            if !suffix.is_some_and(|suffix| suffixes.contains(&suffix)) {
                return fail("a sample of another name");
            }
            family.samples.push(sample);
        }
    }
    Ok(families)
}

fn sample(line: &str) -> Result<Sample, String> {
    let (series, value) = line.rsplit_once(' ').ok_or(format!("no value: {line}"))?;
    let value = value.parse().map_err(|_| format!("no number: {line}"))?;
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(legal) {
        return Err(format!("no name: {line}"));
    }
    let inside = rest.strip_suffix('}').ok_or(format!("open braces: {line}"))?;
    let mut labels = BTreeMap::new();
    for pair in inside.split(',').filter(|pair| !pair.is_empty()) {
        let (label, text) = pair.split_once('=').ok_or(format!("no label: {line}"))?;
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let text = text.ok_or(format!("no quotes: {line}"))?;
        if labels.insert(label.to_owned(), text.to_owned()).is_some() {
            return Err(format!("a label twice: {line}"));
        }
    }
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// What is wrong with a set of families by our own rules.
fn faults(families: &Families) -> Vec<String> {
    const LABELS: &[&str] = &[
        "route",
        "method",
        "class",
        "backend",
        "provider",
        "cause",
        "operation",
        "outcome",
        "reason",
        "source",
        "state",
        "version",
        "rustc",
        "le",
    ];
    // Words that mean a unit: a name that has one must end with it.
    const UNITS: &[(&str, &str)] =
        &[("bytes", "_bytes"), ("seconds", "_seconds"), ("duration", "_seconds")];
    let mut faults = Vec::new();
    for (name, family) in families {
        let mut fault = |why: &str| faults.push(format!("{name}: {why}"));
        if !name.starts_with("proof_storage_") && !name.starts_with("process_") {
            fault("has a foreign prefix");
        }
        if family.help.len() < 10 {
            fault("has no help");
        }
        if family.samples.is_empty() {
            fault("has no sample");
        }
        if (family.kind == "counter") != name.ends_with("_total") {
            fault("`_total` is for counters, and for all of them");
        }
        let bare = name.strip_suffix("_total").unwrap_or(name);
        for (word, suffix) in UNITS {
            if bare.split('_').any(|part| part == *word) && !bare.ends_with(suffix) {
                fault("does not end with its unit");
            }
        }
        if family.samples.iter().flat_map(|s| s.labels.keys()).any(|l| !LABELS.contains(&&**l)) {
            fault("has a label of no known name");
        }
        if family.kind == "histogram" && !histogram_is_sound(family) {
            fault("is no sound histogram");
        }
    }
    faults
}

/// Buckets rise, the last is `+Inf`, and it equals the count.
fn histogram_is_sound(family: &Family) -> bool {
    let mut by_labels: BTreeMap<_, Vec<(String, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        let bound = labels.remove("le");
        match bound {
            Some(bound) => by_labels.entry(labels).or_default().push((bound, sample.value)),
            None if sample.name.ends_with("_count") => drop(counts.insert(labels, sample.value)),
            None => {}
        }
    }
    by_labels.len() == counts.len()
        && by_labels.iter().all(|(labels, buckets)| {
            let last = buckets.last().expect("has one");
            buckets.is_sorted_by(|a, b| a.1 <= b.1)
                && last.0 == "+Inf"
                && counts.get(labels) == Some(&last.1)
        })
}

/// Metrics on which everything was counted once.
fn exercised() -> Metrics {
    let metrics = Metrics::new();
    for route in Route::ALL {
        for method in Method::ALL {
            let elapsed = Duration::from_millis(3);
            metrics.request_finished(*route, *method, StatusCode::OK, elapsed, 10, 20);
        }
    }
    let backend = metrics.backend("east", Provider::S3);
    for operation in Operation::ALL {
        for outcome in Outcome::ALL {
            backend.operation(*operation, *outcome, Duration::from_millis(700));
        }
        for outcome in Retried::ALL {
            backend.retried(*operation, *outcome);
        }
    }
    let mut breaker = backend.breaker();
    for state in BreakerState::ALL {
        breaker.moved(*state);
    }
    let limit = backend.limit();
    limit.refused();
    drop(limit.entered());
    for reason in Refusal::ALL {
        metrics.refused(*reason);
    }
    for cause in HandshakeFailure::ALL {
        metrics.handshake_failed(*cause);
    }
    metrics.certificate_ends(std::time::UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    metrics.commit_group(3, 4096, Duration::from_micros(800));
    metrics.compressed(1000, 400);
    metrics.usage(7, 1000, 400);
    metrics.pool(&figures());
    metrics.watch_log(&init_logging(&Config::default().log));
    metrics
}

fn figures() -> PoolFigures {
    let member = |name: &str, repairs_pending, full| MemberFigures {
        name: name.into(),
        repairs_pending,
        full,
        complete: !full,
    };
    PoolFigures {
        members: vec![member("east", 3, false), member("west", 0, true)],
        oldest_repair: Duration::from_millis(1500),
        divergent: 10,
        conflicts: 1,
        quarantined: 2,
        hedges_sent: 9,
        hedges_won: 4,
        failovers: vec![(ErrorKind::Unavailable, 5), (ErrorKind::Misconfigured, 6)],
        repaired_copies: 7,
        repaired_deletes: 8,
    }
}

fn scrape(metrics: &Metrics) -> Families {
    let text = metrics.render();
    parse(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"))
}

fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let family = name.strip_suffix("_sum").or(name.strip_suffix("_count"));
    let family = families.get(name).or_else(|| families.get(family?))?;
    let wanted = labels.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    let sample = family.samples.iter().find(|s| s.name == name && s.labels == wanted)?;
    Some(sample.value)
}

#[test]
fn a_scrape_is_sound_by_format_and_by_our_rules() {
    let metrics = exercised();
    assert_eq!(faults(&scrape(&metrics)), Vec::<String>::new());
    // A fresh service is sound too.
    assert_eq!(faults(&scrape(&Metrics::new())), Vec::<String>::new());
}

#[test]
fn the_judge_of_scrapes_finds_faults() {
    let text = exercised().render();
    for (from, to) in [
        ("# HELP proof_storage_objects ", "# HULP proof_storage_objects "),
        ("# TYPE proof_storage_objects gauge", "# TYPE proof_storage_objects summary"),
        ("proof_storage_objects 7", "proof_storage_objects seven"),
        ("reason=\"draining\"", "reason=draining"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(parse(&text.replace(from, to)).is_err(), "{from}");
    }
    for (from, to) in [
        ("proof_storage_stored_bytes", "proof_storage_bytes_stored"),
        ("proof_storage_commit_duration_seconds", "proof_storage_commit_duration"),
        ("proof_storage_refused_total", "proof_storage_refused"),
        ("proof_storage_objects", "objects"),
        ("reason=", "key="),
        (
            "proof_storage_commit_group_operations_bucket{le=\"2\"} 0",
            "proof_storage_commit_group_operations_bucket{le=\"2\"} 9",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(!faults(&parse(&text.replace(from, to)).unwrap()).is_empty(), "{from}");
    }
}

#[test]
fn figures_are_those_that_were_counted() {
    let metrics = Metrics::new();
    let other = Metrics::new();
    let started = metrics.request_started();
    let connection = metrics.connection_opened();
    for status in [StatusCode::OK, StatusCode::CREATED, StatusCode::NOT_FOUND] {
        let elapsed = Duration::from_millis(250);
        metrics.request_finished(Route::Object, Method::Put, status, elapsed, 5, 7);
    }
    metrics.commit_group(12, 300, Duration::from_secs(2));
    metrics.compressed(1000, 400);
    metrics.compressed(100, 100);
    metrics.usage(3, 30, 20);
    metrics.refused(Refusal::MemoryBudget);

    let put = |class| [("class", class), ("method", "PUT"), ("route", "object")];
    let object = [("route", "object")];
    let expected = [
        ("proof_storage_http_requests_total", &put("2xx")[..], 2.0),
        ("proof_storage_http_requests_total", &put("4xx"), 1.0),
        // There from the first request on, so that a rate sees the first failure.
        ("proof_storage_http_requests_total", &put("5xx"), 0.0),
        ("proof_storage_http_request_duration_seconds_count", &object, 3.0),
        ("proof_storage_http_request_duration_seconds_sum", &object, 0.75),
        ("proof_storage_http_received_bytes_total", &object, 15.0),
        ("proof_storage_http_sent_bytes_total", &object, 21.0),
        ("proof_storage_http_requests_in_flight", &[], 1.0),
        ("proof_storage_http_connections", &[], 1.0),
        ("proof_storage_commit_group_operations_sum", &[], 12.0),
        ("proof_storage_commit_group_bytes_sum", &[], 300.0),
        ("proof_storage_commit_duration_seconds_sum", &[], 2.0),
        ("proof_storage_compression_original_bytes_total", &[], 1100.0),
        ("proof_storage_compression_stored_bytes_total", &[], 500.0),
        ("proof_storage_objects", &[], 3.0),
        ("proof_storage_object_bytes", &[], 30.0),
        ("proof_storage_stored_bytes", &[], 20.0),
        ("proof_storage_refused_total", &[("reason", "memory_budget")], 1.0),
        ("proof_storage_refused_total", &[("reason", "draining")], 0.0),
    ];
    let families = scrape(&metrics);
    for (name, labels, figure) in expected {
        assert_eq!(value(&families, name, labels), Some(figure), "{name} {labels:?}");
    }
    let build = &families["proof_storage_build_info"].samples[0];
    assert_eq!(build.labels["version"], env!("CARGO_PKG_VERSION"));
    assert!(build.labels["rustc"].starts_with("1."), "{build:?}");
    assert!(value(&families, "process_resident_memory_bytes", &[]).unwrap() > 1e6);
    assert!(value(&families, "process_open_fds", &[]).unwrap() > 2.0);
    assert!(value(&families, "process_cpu_seconds_total", &[]).is_some());

    drop((started, connection));
    let families = scrape(&metrics);
    assert_eq!(value(&families, "proof_storage_http_requests_in_flight", &[]), Some(0.0));
    assert_eq!(value(&families, "proof_storage_http_connections", &[]), Some(0.0));
    assert_eq!(
        value(&scrape(&other), "proof_storage_objects", &[]),
        Some(0.0),
        "nothing is shared"
    );
}

#[test]
fn policy_figures_are_those_that_were_counted() {
    let metrics = Metrics::new();
    let east = [("backend", "east"), ("provider", "s3")];
    let figure = |name: &str, labels: &[_]| {
        let name = format!("proof_storage_backend_{name}");
        value(&scrape(&metrics), &name, labels)
    };
    assert_eq!(figure("breaker_state", &east), None, "without a breaker there is no series");

    // Two layers of one name: their figures add up.
    let backend = metrics.backend("east", Provider::S3);
    let (mut one, mut two) = (backend.breaker(), backend.breaker());
    assert_eq!(figure("breaker_state", &east), Some(0.0));
    let opened = [east[0], east[1], ("state", "open")];
    assert_eq!(figure("breaker_transitions_total", &opened), Some(0.0));
    one.moved(BreakerState::Open);
    assert_eq!(figure("breaker_state", &east), Some(2.0));
    two.moved(BreakerState::Open);
    one.moved(BreakerState::HalfOpen);
    assert_eq!(figure("breaker_state", &east), Some(3.0));
    one.moved(BreakerState::Closed);
    drop(two);
    assert_eq!(figure("breaker_state", &east), Some(0.0), "a breaker that is gone counts no more");
    assert_eq!(figure("breaker_transitions_total", &opened), Some(2.0));

    let limit = backend.limit();
    assert_eq!(figure("calls_in_flight", &east), Some(0.0));
    let calls = [limit.entered(), limit.entered()];
    limit.refused();
    assert_eq!(figure("calls_in_flight", &east), Some(2.0));
    assert_eq!(figure("limit_refusals_total", &east), Some(1.0));
    drop(calls);
    assert_eq!(figure("calls_in_flight", &east), Some(0.0));

    backend.retried(Operation::Put, Retried::Settled);
    let put = |outcome| [east[0], east[1], ("operation", "put"), ("outcome", outcome)];
    assert_eq!(figure("retries_total", &put("settled")), Some(1.0));
    assert_eq!(figure("retries_total", &put("no_budget")), Some(0.0));
}

#[test]
fn two_backends_of_one_kind_are_told_apart() {
    let metrics = Metrics::new();
    let [east, west] = ["east", "west"].map(|name| metrics.backend(name, Provider::S3));
    east.operation(Operation::Get, Outcome::Ok, Duration::ZERO);
    west.operation(Operation::Get, Outcome::Timeout, Duration::ZERO);
    let figure = |backend, outcome| {
        let name = "proof_storage_backend_operations_total";
        let labels =
            [("backend", backend), ("provider", "s3"), ("operation", "get"), ("outcome", outcome)];
        value(&scrape(&metrics), name, &labels)
    };
    assert_eq!((figure("east", "ok"), figure("east", "timeout")), (Some(1.0), Some(0.0)));
    assert_eq!((figure("west", "ok"), figure("west", "timeout")), (Some(0.0), Some(1.0)));
}

#[test]
fn figures_of_a_pool_are_what_it_counted() {
    let metrics = Metrics::new();
    let figure = |name: &str, labels: &[_]| {
        value(&scrape(&metrics), &format!("proof_storage_pool_{name}"), labels)
    };
    assert_eq!(figure("conflicts", &[]), None, "without a pool there is no series");
    metrics.pool(&figures());
    for (name, labels, wanted) in [
        ("repairs_pending", &[("backend", "east")][..], 3.0),
        ("repairs_pending", &[("backend", "west")], 0.0),
        ("member_full", &[("backend", "east")], 0.0),
        ("member_full", &[("backend", "west")], 1.0),
        ("member_complete", &[("backend", "east")], 1.0),
        ("member_complete", &[("backend", "west")], 0.0),
        ("oldest_repair_seconds", &[], 1.5),
        ("divergent", &[], 10.0),
        ("conflicts", &[], 1.0),
        ("quarantined", &[], 2.0),
        ("hedges_total", &[], 9.0),
        ("hedges_won_total", &[], 4.0),
        ("failovers_total", &[("cause", "unavailable")], 5.0),
        ("failovers_total", &[("cause", "misconfigured")], 6.0),
        // There before it happens.
        ("failovers_total", &[("cause", "corrupt")], 0.0),
        ("repaired_total", &[("operation", "copy")], 7.0),
        ("repaired_total", &[("operation", "delete")], 8.0),
    ] {
        assert_eq!(figure(name, labels), Some(wanted), "{name} {labels:?}");
    }
    // What is over is over.
    metrics.pool(&PoolFigures { conflicts: 0, ..figures() });
    assert_eq!(figure("conflicts", &[]), Some(0.0));
    assert_eq!(figure("hedges_total", &[]), Some(9.0));
}

#[test]
fn every_label_value_is_of_an_enum() {
    let known: BTreeSet<&str> = (Route::ALL.iter().map(|l| l.as_str()))
        .chain(Method::ALL.iter().map(|l| l.as_str()))
        .chain(Operation::ALL.iter().map(|l| l.as_str()))
        .chain(Outcome::ALL.iter().map(|l| l.as_str()))
        .chain(Refusal::ALL.iter().map(|l| l.as_str()))
        .chain(AuditLine::ALL.iter().map(|l| l.as_str()))
        .chain(Denial::ALL.iter().map(|l| l.as_str()))
        .chain(HandshakeFailure::ALL.iter().map(|l| l.as_str()))
        .chain(CredentialSource::ALL.iter().map(|l| l.as_str()))
        .chain(Retried::ALL.iter().map(|l| l.as_str()))
        .chain(BreakerState::ALL.iter().map(|l| l.as_str()))
        .chain(["local", "1xx", "2xx", "3xx", "4xx", "5xx"])
        .chain(["east", "west", "s3"])
        .collect();
    let metrics = exercised();
    // A method that a caller made up must not come through.
    let invented = http::Method::from_bytes(b"KEY-OF-A-PROOF").unwrap();
    let elapsed = Duration::ZERO;
    let status = StatusCode::METHOD_NOT_ALLOWED;
    metrics.request_finished(Route::Other, Method::from(&invented), status, elapsed, 0, 0);
    for (name, family) in scrape(&metrics) {
        for sample in family.samples {
            for (label, text) in sample.labels {
                let free = matches!(label.as_str(), "le" | "version" | "rustc");
                assert!(free || known.contains(text.as_str()), "{name} {label} {text}");
            }
        }
    }
}

#[test]
fn enums_agree_with_their_places() {
    fn check<L: proof_storage::telemetry::Label>() {
        let names: BTreeSet<_> = L::ALL.iter().map(|label| label.as_str()).collect();
        assert_eq!(names.len(), L::ALL.len(), "two share a name");
        for (place, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), place);
        }
    }
    check::<Route>();
    check::<Method>();
    check::<Operation>();
    check::<Outcome>();
    check::<Refusal>();
    check::<Retried>();
    check::<BreakerState>();
}

#[tokio::test(start_paused = true)]
async fn upkeep_keeps_the_figures() {
    let metrics = Metrics::new();
    let upkeep = tokio::spawn(metrics.clone().upkeep());
    for _ in 0..3 {
        metrics.commit_group(2, 2, Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    let families = scrape(&metrics);
    assert_eq!(value(&families, "proof_storage_commit_duration_seconds_count", &[]), Some(3.0));
    upkeep.abort();
}

/// Names of series that a text uses and that no scrape has.
fn unknown_series(text: &str, families: &Families) -> BTreeSet<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !legal(c))
        .filter(|word| word.starts_with("proof_storage_") || word.starts_with("process_"))
        .filter(|word| {
            let histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| word.strip_suffix(suffix))
                .any(|name| families.get(name).is_some_and(|f| f.kind == "histogram"));
            !histogram && families.get(*word).is_none_or(|family| family.kind == "histogram")
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn alerts_and_dashboard_use_series_and_labels_that_exist() {
    let families = scrape(&exercised());
    let read = |name| std::fs::read_to_string(crate::project_file(name)).unwrap();
    let alerts = read("config/prometheus/alerts.yml");
    let dashboard = read("config/grafana/proof-storage.json");
    for text in [&alerts, &dashboard] {
        assert_eq!(unknown_series(text, &families), BTreeSet::new());
    }
    // Label values that are spelled out are ones that a scrape has.
    let values: BTreeSet<_> =
        families.values().flat_map(|f| &f.samples).flat_map(|s| s.labels.clone()).collect();
    let mut matched = 0;
    for text in [alerts.clone(), dashboard.replace("\\\"", "\"")] {
        for label in ["outcome", "operation", "class", "route", "reason", "cause"] {
            for pattern in text
                .split(&format!("{label}=\""))
                .skip(1)
                .chain(text.split(&format!("{label}!=\"")).skip(1))
                .chain(text.split(&format!("{label}!~\"")).skip(1))
            {
                for word in pattern.split('"').next().unwrap().split('|') {
                    assert!(values.contains(&(label.into(), word.into())), "{label}={word}");
                    matched += 1;
                }
            }
        }
    }
    assert!(matched > 8, "the search for labels finds {matched}");

    let invented =
        alerts.replacen("proof_storage_http_requests_total", "proof_storage_http_total", 1);
    assert_eq!(unknown_series(&invented, &families).len(), 1);
    let bare = alerts.replacen("commit_duration_seconds_bucket", "commit_duration_seconds", 1);
    assert_eq!(unknown_series(&bare, &families).len(), 1, "a histogram has no sample of its name");
}

#[test]
fn prometheus_and_grafana_files_are_well_formed() {
    let read = |name| std::fs::read_to_string(crate::project_file(name)).unwrap();
    let scrape: serde_norway::Value =
        serde_norway::from_str(&read("config/prometheus/prometheus.yml")).unwrap();
    assert_eq!(scrape["rule_files"][0], "alerts.yml");
    assert_eq!(scrape["scrape_configs"][0]["metrics_path"], "/metrics");
    let alerts: serde_norway::Value =
        serde_norway::from_str(&read("config/prometheus/alerts.yml")).unwrap();
    let rules = alerts["groups"][0]["rules"].as_sequence().unwrap();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(rule["expr"].is_string(), "{name}");
        assert!(rule["labels"]["severity"].is_string(), "{name}");
        assert!(rule["annotations"]["summary"].is_string(), "{name}");
        assert!(rule["annotations"]["description"].is_string(), "{name}");
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("config/grafana/proof-storage.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()));
    }
}
