//! How long a proof stays: the headers and the call that say it, and how answers show it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Json;
use serde::{Deserialize, Serialize};

use super::extract::{no_query, path_key, strict_json};
use super::gate::{Call, Demand, Granted, Need, Pass, Who};
use super::headers::{text, unknown_value};
use super::problem::{Code, Problem};
use super::render;
use crate::audit::Action;
use crate::model::{Key, ObjectMeta, Retention, Scope, rfc3339_seconds};
use crate::vault::{Change, Source, Standing, Strength, Vault};

/// Until when a proof stays, as RFC 3339 has times.
pub const RETAIN_UNTIL: HeaderName = HeaderName::from_static("proof-retain-until");
/// Whether it stays beyond that: `on` or `off`.
pub const LEGAL_HOLD: HeaderName = HeaderName::from_static("proof-legal-hold");

/// What a store's headers ask for. `off` is the same as no header: a store clears nothing.
///
/// # Errors
/// 400 naming the header.
pub fn of_store(headers: &HeaderMap, vault: &Vault) -> Result<Retention, Problem> {
    let until = match text(headers, &RETAIN_UNTIL)? {
        Some(value) => Some(checked("Proof-Retain-Until", value, vault)?),
        None => None,
    };
    let legal_hold = match text(headers, &LEGAL_HOLD)? {
        None | Some("off") => false,
        Some("on") => true,
        Some(other) => return Err(unknown_value("Proof-Legal-Hold", other, "on, off")),
    };
    if until.is_some() || legal_hold {
        vault.check_holds()?;
    }
    Ok(Retention { until, legal_hold, stored: None })
}

/// Has the call's line in the audit log say what was asked for.
pub fn note(pass: &Pass, until: Option<SystemTime>, legal_hold: Option<bool>) {
    pass.note(|facts| {
        if let Some(until) = until {
            facts.with("retain_until", rfc3339_seconds(until));
        }
        if let Some(legal_hold) = legal_hold {
            facts.with("legal_hold", legal_hold);
        }
    });
}

/// Whoever got a URL for one upload shall not decide for how long it stays.
///
/// # Errors
/// 400 naming the header.
pub fn refuse_with_url(headers: &HeaderMap) -> Result<(), Problem> {
    match [RETAIN_UNTIL, LEGAL_HOLD].iter().find(|name| headers.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(Problem::invalid(format!(
            "{name}: not with a signed URL; whoever may write says it afterwards by PUT /v1/retention/{{key}}"
        ))),
    }
}

fn checked(name: &str, value: &str, vault: &Vault) -> Result<SystemTime, Problem> {
    let until = date_time(value).ok_or_else(|| {
        Problem::invalid(format!(
            "{name}: '{value}' is no date-time of RFC 3339; send one such as 2036-01-31T00:00:00Z"
        ))
    })?;
    vault.check_until(until).map_err(|error| Problem::invalid(format!("{name}: {error}")))?;
    Ok(until)
}

/// A date-time of RFC 3339 §5.6, with any offset; parts of a second are rounded up, so that nothing
/// ends early.
fn date_time(text: &str) -> Option<SystemTime> {
    // Dates and times have ASCII characters only; the offset begins behind the seconds.
    let (rest, offset) = match text.strip_suffix('Z') {
        Some(rest) => (rest, 0),
        None => {
            let (rest, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            (rest, minutes(offset)?)
        }
    };
    let local = humantime::parse_rfc3339(&format!("{rest}Z")).ok()?;
    let since = local.duration_since(UNIX_EPOCH).ok()?;
    let seconds = i64::try_from(since.as_secs()).ok()? + i64::from(since.subsec_nanos() > 0);
    let seconds = u64::try_from(seconds - offset * 60).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// `+hh:mm` or `-hh:mm`, in minutes east of UTC.
fn minutes(offset: &str) -> Option<i64> {
    let sign = match offset.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |text: &str, below: i64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|number| digits && *number < below)
    };
    Some(sign * (number(hours, 24)? * 60 + number(minutes, 60)?))
}

/// What holds a proof, as answers show it.
#[derive(Serialize)]
pub struct Shown {
    until: Option<String>,
    legal_hold: bool,
    source: Source,
    strength: Strength,
}

/// What holds a proof, or held it, for a caller who has said who they are; nobody else is told, since a
/// legal hold can be a secret.
pub fn shown(pass: &Pass, meta: &ObjectMeta) -> Option<Shown> {
    let standing = standing(pass, meta)?;
    let strength = pass.vault().strength(meta, standing);
    let Standing { until, legal_hold, source } = standing;
    Some(Shown { until: until.map(rfc3339_seconds), legal_hold, source, strength })
}

/// The same as headers.
pub fn add_headers(pass: &Pass, meta: &ObjectMeta, headers: &mut HeaderMap) {
    let Some(standing) = standing(pass, meta) else { return };
    if let Some(until) =
        standing.until.and_then(|until| HeaderValue::from_str(&rfc3339_seconds(until)).ok())
    {
        headers.insert(RETAIN_UNTIL, until);
    }
    if standing.legal_hold {
        headers.insert(LEGAL_HOLD, HeaderValue::from_static("on"));
    }
}

/// Whether headers of an answer say what holds a proof.
pub fn is_shown(headers: &HeaderMap) -> bool {
    headers.contains_key(RETAIN_UNTIL) || headers.contains_key(LEGAL_HOLD)
}

/// A refusal as it is told to who is not known: that the proof has to stay, and neither why nor until when.
pub fn told(pass: &Pass, problem: Problem) -> Problem {
    if pass.is_known() || problem.code() != Code::Retained {
        return problem;
    }
    Problem::new(Code::Retained, "the proof cannot be replaced now, and nothing was changed")
}

fn standing(pass: &Pass, meta: &ObjectMeta) -> Option<Standing> {
    if pass.is_known() { pass.vault().standing(meta) } else { None }
}

/// Body of `PUT /v1/retention/{key}`; what is not named stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    retain_until: Option<String>,
    legal_hold: Option<bool>,
}

/// A change of what holds a proof. Clearing a legal hold takes more than setting one.
pub struct Retain {
    key: Key,
    wanted: Wanted,
}

impl Demand for Retain {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Write];
    const ACTION: Option<Action> = Some(Action::Retain);

    async fn read(mut call: Call<'_>) -> Result<Self, Problem> {
        let key = path_key(call.namespace, &call.head.uri)?;
        no_query(&call.head.uri)?;
        let wanted: Wanted = strict_json(&mut call).await?;
        if wanted.retain_until.is_none() && wanted.legal_hold.is_none() {
            let detail = "JSON body: nothing to change; send retain_until, legal_hold or both";
            return Err(Problem::invalid(detail));
        }
        Ok(Self { key, wanted })
    }

    fn needs(&self) -> Vec<Need<'_>> {
        let clears = self.wanted.legal_hold == Some(false);
        let mut needs = vec![Need::Key(Scope::Write, &self.key)];
        needs.extend(clears.then_some(Need::Key(Scope::Admin, &self.key)));
        needs
    }
}

/// Result of a change.
#[derive(Serialize)]
pub struct Retained {
    key: String,
    retention: Option<Shown>,
    last_modified: String,
}

/// `PUT /v1/retention/{key}`
pub async fn put(granted: Granted<Retain>) -> Result<Json<Retained>, Problem> {
    let Granted { pass, what: Retain { key, wanted }, .. } = granted;
    let until = match &wanted.retain_until {
        Some(text) => Some(checked("retain_until", text, pass.vault())?),
        None => None,
    };
    note(&pass, until, wanted.legal_hold);
    let change = Change { until, legal_hold: wanted.legal_hold };
    let meta = pass.vault().retain(&key, change).await?;
    Ok(Json(Retained {
        key: key.as_str().to_owned(),
        retention: shown(&pass, &meta),
        last_modified: render::timestamp(meta.last_modified),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_times_are_those_of_rfc_3339() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2036-01-31T00:00:00Z", Some(2_085_350_400)),
            ("2036-01-31T00:00:00.001Z", Some(2_085_350_401)),
            ("2036-01-31T01:30:00+01:30", Some(2_085_350_400)),
            ("2036-01-30T16:00:00-08:00", Some(2_085_350_400)),
            ("2036-01-31", None),
            ("2036-01-31T00:00:00", None),
            ("2036-01-31 00:00:00Z", None),
            ("2036-01-31T00:00:00+0130", None),
            ("2036-01-31T00:00:00+24:00", None),
            ("2036-01-31T00:00:00+1:000", None),
            ("2036-02-30T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("2085350400", None),
            ("", None),
            ("Z", None),
            ("é+01:00", None),
        ] {
            let expected = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(date_time(text), expected, "{text}");
        }
    }
}
