//! `check-config`: the configuration as it takes effect, or all its mistakes.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::{EXIT_MISTAKE, Report};
use crate::config::{BackendConfig, BackendKind, BaseUrl, Config, Loaded, Problems, Sources};
use crate::model::PoolMode;

/// Checks a configuration and prints what came of it.
pub fn run_check_config(sources: Sources, json: bool) -> ExitCode {
    report(Config::load(sources), json).print()
}

/// Prints the mistakes that keep the service from starting.
pub fn report_problems(problems: &Problems) -> ExitCode {
    Report { out: String::new(), err: format!("{problems}\n"), code: EXIT_MISTAKE }.print()
}

fn report(result: Result<Loaded, Problems>, json: bool) -> Report {
    let code = if result.is_ok() { 0 } else { EXIT_MISTAKE };
    let (out, err) = match (result, json) {
        (Ok(loaded), false) => (text(&loaded), String::new()),
        (Err(problems), false) => (String::new(), format!("{problems}\n")),
        (Ok(loaded), true) => (format!("{:#}\n", sound(&loaded)), String::new()),
        (Err(problems), true) => {
            let document = json!({ "sound": false, "problems": problems });
            (format!("{document:#}\n"), String::new())
        }
    };
    Report { out, err, code }
}

fn text(loaded: &Loaded) -> String {
    let mut text = String::from("the configuration is sound\n\n");
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(unset)".into());
    let width = |of: fn(&str) -> usize, texts: Vec<String>| {
        texts.iter().map(|text| of(text)).max().unwrap_or(0)
    };
    let chars: fn(&str) -> usize = |text| text.chars().count();
    let names = width(chars, loaded.effective.iter().map(|e| e.variable.to_owned()).collect());
    let values = width(chars, loaded.effective.iter().map(|e| shown(&e.value)).collect());
    for setting in &loaded.effective {
        let (name, value, source) = (setting.variable, shown(&setting.value), &setting.source);
        // A `String` takes any text.
        let _ = writeln!(text, "{name:names$}  {value:values$}  {source}");
    }
    text += &backends(&loaded.config);
    for warning in &loaded.warnings {
        let _ = write!(text, "\nwarning: {warning}");
    }
    if !loaded.warnings.is_empty() {
        text.push('\n');
    }
    text
}

/// What keeps the proofs, one line each.
fn backends(config: &Config) -> String {
    let mode = match (config.backends.len(), config.pool.mode) {
        (1, _) => "one backend".to_owned(),
        (_, PoolMode::Fallback) => "backends, fallback".to_owned(),
        (_, PoolMode::Mirror) => format!("backends, mirror of {} copies", config.pool.min_copies),
    };
    let mut text = format!("\n{mode}:\n");
    let width = config.backends.iter().map(|backend| backend.name.len()).max().unwrap_or(0);
    for backend in &config.backends {
        let (name, role) = (&backend.name, backend.role.as_str());
        let provider = backend.provider().as_str();
        let quota = backend.quota_bytes.map(|bytes| format!(", at most {bytes} bytes"));
        let (place, quota) = (place(backend), quota.unwrap_or_default());
        let _ = writeln!(text, "  {name:width$}  {provider:5}  {role:10}  {place}{quota}");
    }
    text
}

fn place(backend: &BackendConfig) -> String {
    match &backend.kind {
        BackendKind::Local(local) => local.data_dir.display().to_string(),
        BackendKind::Remote(remote) => {
            let endpoint = remote.endpoint.as_ref().map_or("Amazon", BaseUrl::as_str);
            format!("bucket {} at {endpoint}", remote.bucket)
        }
    }
}

/// The same as JSON, with all that is said of each; whether there are credentials, never which.
fn backend_document(backend: &BackendConfig) -> serde_json::Value {
    let mut document = json!({
        "name": backend.name,
        "provider": backend.provider(),
        "role": backend.role,
        "quota_bytes": backend.quota_bytes,
        "cdn_url": backend.cdn_url.as_ref().map(BaseUrl::as_str),
        "timeout": milliseconds(backend.timeout),
        "probe_interval": milliseconds(backend.probe_interval),
    });
    let more = match &backend.kind {
        BackendKind::Local(local) => json!({
            "data_dir": local.data_dir,
            "cache_bytes": local.cache_bytes,
            "disk_reserve": local.disk_reserve_bytes,
        }),
        BackendKind::Remote(remote) => json!({
            "bucket": remote.bucket,
            "endpoint": remote.endpoint.as_ref().map(BaseUrl::as_str),
            "presign_endpoint": remote.presign_endpoint.as_ref().map(BaseUrl::as_str),
            "region": remote.region,
            "path_style": remote.path_style,
            "credentials": remote.credentials.as_ref().map(|_| "(secret)"),
            "encryption": remote.encryption,
            "kms_key_id": remote.kms_key_id,
            "object_lock": remote.object_lock,
            "max_retries": remote.max_retries,
            "max_in_flight": remote.max_in_flight,
            "dark_after": milliseconds(remote.dark_after),
            "inventory_interval": milliseconds(remote.inventory_interval),
        }),
    };
    if let (Some(all), serde_json::Value::Object(more)) = (document.as_object_mut(), more) {
        all.extend(more);
    }
    document
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn sound(loaded: &Loaded) -> serde_json::Value {
    let settings: Vec<_> = loaded
        .effective
        .iter()
        .map(|setting| {
            json!({
                "name": setting.variable,
                "value": setting.value,
                "source": setting.source.to_string(),
            })
        })
        .collect();
    let Config { backends, pool, .. } = &loaded.config;
    let pool =
        (backends.len() > 1).then(|| json!({ "mode": pool.mode, "min_copies": pool.min_copies }));
    json!({
        "sound": true,
        "settings": settings,
        "pool": pool,
        "backends": backends.iter().map(backend_document).collect::<Vec<_>>(),
        "warnings": loaded.warnings,
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    const SECRET: &str = "canary-canary-canary-canary-canary";

    fn check(variables: &[(&str, &str)], json: bool) -> Report {
        let environment = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        report(Config::load(Sources { environment, file: None }), json)
    }

    fn line<'a>(report: &'a Report, name: &str) -> Vec<&'a str> {
        let line = report.out.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
        line.split_whitespace().collect()
    }

    #[test]
    fn shows_values_with_their_source_and_no_secret() {
        let variables = [
            ("STORAGE_LISTEN", "0.0.0.0:9000"),
            ("STORAGE_AUTH", "anyone-may-do-anything"),
            ("STORAGE_SIGNING_KEY", SECRET),
            ("STORAGE_REGION", "eu-west-1"),
        ];
        let report = check(&variables, false);
        assert_eq!((report.code, report.err.as_str()), (0, ""));
        assert_eq!(line(&report, "STORAGE_LISTEN")[1..], ["0.0.0.0:9000", "variable"]);
        assert_eq!(line(&report, "STORAGE_SIGNING_KEY")[1..], ["(secret)", "variable"]);
        assert_eq!(line(&report, "STORAGE_TIMEOUT")[1..], ["30000", "default"]);
        assert_eq!(line(&report, "STORAGE_CDN_URL")[1..], ["(unset)", "default"]);
        assert!(report.out.contains("warning: STORAGE_REGION"));
        assert!(!report.out.contains(SECRET));
    }

    #[test]
    fn json_has_the_same_facts() {
        let report = check(&[("STORAGE_SIGNING_KEY", SECRET)], true);
        assert!(!report.out.contains(SECRET));
        let document: serde_json::Value = serde_json::from_str(&report.out).unwrap();
        assert_eq!(document["sound"], true);
        let settings = document["settings"].as_array().unwrap();
        assert_eq!(settings.len(), crate::config::SETTINGS.len());
        let listen = settings.iter().find(|s| s["name"] == "STORAGE_LISTEN").unwrap();
        assert_eq!(listen["value"], "127.0.0.1:8080");
        assert_eq!(listen["source"], "default");
    }

    #[test]
    fn backends_are_shown_with_their_places_and_no_secret() {
        let pool = [
            ("STORAGE_PROVIDER", "s3"),
            ("STORAGE_FALLBACK_PROVIDER", "local"),
            ("STORAGE_BUCKET", "some-bucket"),
            ("STORAGE_ENDPOINT", "https://s3.example"),
            ("STORAGE_ACCESS_KEY_ID", SECRET),
            ("STORAGE_SECRET_ACCESS_KEY", SECRET),
        ];
        let report = check(&pool, false);
        let (_, shown) = report.out.split_once("\nbackends, fallback:\n").unwrap();
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(
            lines[0],
            "  s3     s3     read-write  bucket some-bucket at https://s3.example"
        );
        assert_eq!(lines[1], "  local  local  read-write  ./data");
        assert!(!report.out.contains(SECRET));
        assert!(check(&[], false).out.contains("\none backend:\n  local"));

        let report = check(&pool, true);
        assert!(!report.out.contains(SECRET));
        let document: serde_json::Value = serde_json::from_str(&report.out).unwrap();
        assert_eq!(document["pool"]["mode"], "fallback");
        let [s3, local] = [&document["backends"][0], &document["backends"][1]];
        assert_eq!(
            (&s3["bucket"], &s3["credentials"]),
            (&"some-bucket".into(), &"(secret)".into())
        );
        assert_eq!((&local["name"], &local["data_dir"]), (&"local".into(), &"./data".into()));
        let single: serde_json::Value = serde_json::from_str(&check(&[], true).out).unwrap();
        assert_eq!(single["pool"], serde_json::Value::Null);
    }

    #[test]
    fn mistakes_go_to_standard_error_or_into_the_json() {
        let wrong = [("STORAGE_LISTEN", "here"), ("STORAGE_TIMEOUT", "soon")];
        let report = check(&wrong, false);
        assert_eq!((report.code, report.out.as_str()), (EXIT_MISTAKE, ""));
        assert!(report.err.starts_with("2 mistakes"), "{}", report.err);
        let report = check(&wrong, true);
        assert_eq!((report.code, report.err.as_str()), (EXIT_MISTAKE, ""));
        let document: serde_json::Value = serde_json::from_str(&report.out).unwrap();
        assert_eq!(document["sound"], false);
        assert_eq!(document["problems"][0]["place"], "STORAGE_LISTEN");
    }
}
