//! A request's body on its way in: whoever sends it too slowly, or stops, is cut off.
//!
//! Time counts only while the client is waited for, never while this process is busy with what came.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::problem::{Code, Problem};
use super::state::AppState;
use crate::telemetry::{Metrics, Refusal};

/// Waiting over which a rate is an average, at the least: a pause that is allowed is no slowness. The
/// first of it is the grace in which a client comes up to speed.
const WINDOW: Duration = Duration::from_secs(10);

/// A body that is arriving.
pub struct Arrival {
    body: Body,
    /// Longest wait for the next bytes.
    pause: Duration,
    /// Waiting over which the rate is an average.
    window: Duration,
    /// Bytes that each window must bring.
    least: u64,
    rate: u64,
    waited: Duration,
    came: u64,
    metrics: Metrics,
}

impl Arrival {
    /// With the limits of the service.
    pub fn new(body: Body, state: &AppState) -> Self {
        let rate = state.settings.min_upload_rate;
        let pause = state.settings.body_timeout;
        let window = pause.max(WINDOW);
        Self {
            body,
            pause,
            window,
            least: rate.saturating_mul(window.as_secs()),
            rate,
            waited: Duration::ZERO,
            came: 0,
            metrics: state.metrics.clone(),
        }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// 408 where they come too slowly or not at all, 400 where the client is gone.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            // A body without a byte for as long as a window is told so where that is the shorter.
            let left = self.window.saturating_sub(self.waited);
            let limit = if self.least > 0 { self.pause.min(left) } else { self.pause };
            let began = Instant::now();
            let frame = tokio::time::timeout(limit, self.body.frame()).await;
            self.waited += began.elapsed();
            let frame = match frame {
                Ok(frame) => frame,
                Err(_) if limit == self.pause => return Err(self.stopped()),
                Err(_) => {
                    self.judge()?;
                    continue;
                }
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame =
                frame.map_err(|_| Problem::invalid("the body broke off; nothing was stored"))?;
            let Ok(bytes) = frame.into_data() else { continue };
            self.came += bytes.len() as u64;
            if self.least > 0 && self.waited >= self.window {
                self.judge()?;
            }
            return Ok(Some(bytes));
        }
    }

    /// Ends a window.
    fn judge(&mut self) -> Result<(), Problem> {
        if self.came < self.least {
            self.metrics.refused(Refusal::SlowUpload);
            let detail = format!(
                "the body brought {} bytes in {} s of waiting, and STORAGE_MIN_UPLOAD_RATE asks for {} \
                 a second; nothing was stored",
                self.came,
                self.window.as_secs(),
                self.rate
            );
            return Err(Problem::new(Code::RequestTimeout, detail));
        }
        self.waited = Duration::ZERO;
        self.came = 0;
        Ok(())
    }

    fn stopped(&self) -> Problem {
        self.metrics.refused(Refusal::SlowUpload);
        let detail = format!("no byte of the body arrived for {} ms", self.pause.as_millis());
        Problem::new(Code::RequestTimeout, detail)
    }
}
