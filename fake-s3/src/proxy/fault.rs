//! What is done to which requests, as orders that are spent.

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::message::Head;

/// What happens on the wire to a request that a [`WireFault`] matches. Places are bytes of the body, from
/// 0; one behind its end is its last byte. Of an answer without a body they are of its head, which is
/// then struck in its middle, but for the flips, which leave it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireEffect {
    /// The connection is reset, and nothing of the request is forwarded.
    Reset,
    /// The connection is closed in order, and nothing of the request is forwarded.
    Close,
    /// The same, and only to a connection that has carried a request before: what a server does to one
    /// that idles, at the moment at which the client takes it up again.
    Stale,
    /// The request is taken, neither forwarded nor answered, and the connection stays open.
    Swallow,
    /// The answer is held back for this time.
    Delay(Duration),
    /// From this byte on the answer comes at a byte a second.
    Drip(u64),
    /// From this byte on nothing of the answer comes, and the connection stays open.
    Stall(u64),
    /// One bit of this byte of the answer is wrong.
    Flip(u64),
    /// The answer ends before this byte, and the connection is closed in order.
    Truncate(u64),
    /// The request is forwarded whole, and the connection closed when its answer comes.
    LoseAnswer,
    /// The connections are reset before this byte of the request is forwarded.
    CutUpload(u64),
    /// One bit of this byte of the request is wrong.
    FlipUpload(u64),
    /// What comes is no HTTP.
    Garble,
    /// The answer announces so many bytes more than it has, or fewer.
    Length(i64),
}

/// What to do to the next requests that match. Faults are tried in the order in which they were given; the
/// first that matches is spent, and only that one takes effect.
///
/// ```
/// # use fake_s3::{WireEffect, WireFault};
/// WireFault::new(WireEffect::Flip(100)).on("GET").path("/a/").times(3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireFault {
    effect: WireEffect,
    method: Option<String>,
    path: Option<String>,
    passes: usize,
    times: usize,
}

impl WireFault {
    /// A fault for the next request, whatever it is.
    pub fn new(effect: WireEffect) -> Self {
        Self { effect, method: None, path: None, passes: 0, times: 1 }
    }

    /// Only for this method.
    #[must_use]
    pub fn on(self, method: &str) -> Self {
        Self { method: Some(method.into()), ..self }
    }

    /// Only for targets (path and query, percent-encoded) that contain this.
    #[must_use]
    pub fn path(self, part: &str) -> Self {
        Self { path: Some(part.into()), ..self }
    }

    /// For so many requests. `usize::MAX` is for ever.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Only after so many matching requests went through untouched.
    #[must_use]
    pub fn after(self, passes: usize) -> Self {
        Self { passes, ..self }
    }

    fn matches(&self, request: &Head, reused: bool) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == request.method())
            && self.path.as_deref().is_none_or(|part| request.target().contains(part))
            && (self.effect != WireEffect::Stale || reused)
    }
}

/// Faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct WireScript(Mutex<Vec<WireFault>>);

impl WireScript {
    pub(super) fn add(&self, fault: WireFault) {
        if fault.times > 0 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
        }
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn pending(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Spends the first fault that matches. `reused`: the connection has carried a request before.
    pub(super) fn take(&self, request: &Head, reused: bool) -> Option<WireEffect> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spent = None;
        for (place, fault) in faults.iter_mut().enumerate() {
            if !fault.matches(request, reused) {
                continue;
            }
            if fault.passes > 0 {
                fault.passes -= 1;
                continue;
            }
            if fault.times != usize::MAX {
                fault.times -= 1;
            }
            spent = Some((place, fault.times == 0, fault.effect));
            break;
        }
        let (place, over, effect) = spent?;
        if over {
            faults.remove(place);
        }
        Some(effect)
    }
}

/// `reset`, `close`, `stale`, `swallow`, `lose-answer`, `garble`; with a number `delay=MILLISECONDS`,
/// `length=DIFFERENCE`; with a byte's place `drip=`, `stall=`, `flip=`, `truncate=`, `cut-upload=` and
/// `flip-upload=`.
impl FromStr for WireEffect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
        let wrong = || format!("`{text}` is no fault of the wire");
        let place = || number.and_then(|number| number.parse::<u64>().ok()).ok_or_else(wrong);
        let effect = match name {
            "delay" => Self::Delay(Duration::from_millis(place()?)),
            "drip" => Self::Drip(place()?),
            "stall" => Self::Stall(place()?),
            "flip" => Self::Flip(place()?),
            "truncate" => Self::Truncate(place()?),
            "cut-upload" => Self::CutUpload(place()?),
            "flip-upload" => Self::FlipUpload(place()?),
            "length" => {
                let difference = number.and_then(|number| number.parse().ok());
                Self::Length(difference.ok_or_else(wrong)?)
            }
            _ if number.is_some() => return Err(wrong()),
            "reset" => Self::Reset,
            "close" => Self::Close,
            "stale" => Self::Stale,
            "swallow" => Self::Swallow,
            "lose-answer" => Self::LoseAnswer,
            "garble" => Self::Garble,
            _ => return Err(wrong()),
        };
        Ok(effect)
    }
}

/// `EFFECT [method=NAME] [path=PART] [times=N]`.
impl FromStr for WireFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let mut fault = Self::new(words.next().unwrap_or_default().parse()?);
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            fault = match (name, value.parse()) {
                ("method", _) => fault.on(value),
                ("path", _) => fault.path(value),
                ("times", Ok(times)) => fault.times(times),
                _ => return Err(format!("`{word}` is not understood")),
            };
        }
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_text() {
        let fault: WireFault = "flip=100 method=GET path=/a times=3".parse().unwrap();
        assert_eq!(fault, WireFault::new(WireEffect::Flip(100)).on("GET").path("/a").times(3));
        assert_eq!("length=-5".parse(), Ok(WireEffect::Length(-5)));
        for wrong in ["", "burn", "flip", "flip=x", "reset=1", "delay=-1"] {
            assert!(wrong.parse::<WireEffect>().is_err(), "{wrong}");
        }
        assert!("reset often".parse::<WireFault>().is_err());
        assert!("reset times=x".parse::<WireFault>().is_err());
    }
}
