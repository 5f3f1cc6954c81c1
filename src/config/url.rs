//! Base URLs and origins as configured.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::Uri;

use crate::model::Reach;

/// A setting as it may be shown: the query of a URL can be a credential.
pub(super) fn without_query(text: &str) -> Cow<'_, str> {
    match text.split_once('?') {
        Some((before, _)) if before.contains("://") => format!("{before}?(hidden)").into(),
        _ => text.into(),
    }
}

/// Absolute http or https URL that paths are appended to: no query, no trailing slash.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Arc<str>);

impl BaseUrl {
    /// The same of a URL that the service calls itself.
    ///
    /// # Errors
    /// As [`BaseUrl::parse`], and where its host is an address that may not be called.
    pub(super) fn parse_called(text: &str, reach: Reach) -> Result<Self, String> {
        let url = Self::parse(text)?;
        let host = text.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        reach.check_host(&host.unwrap_or_default())?;
        Ok(url)
    }

    /// Reads a URL; a path is allowed, a trailing slash is dropped.
    ///
    /// # Errors
    /// Says what to write. Does not repeat the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        const REMEDY: &str = "write an absolute URL such as https://proofs.example.org";
        if text.contains(['?', '#']) {
            return Err(format!("a query or fragment is not allowed: {REMEDY}"));
        }
        let uri: Uri = text.parse().map_err(|_| format!("is not a URL: {REMEDY}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(format!("is not an http or https URL: {REMEDY}"));
        }
        let host = uri.authority().map_or("", |authority| authority.as_str());
        if host.contains('@') {
            return Err(format!("user names and passwords are not allowed: {REMEDY}"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(format!("has no host: {REMEDY}"));
        }
        Ok(Self(text.trim_end_matches('/').into()))
    }

    /// The URL without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose pages may read proofs from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Everybody's: `*`.
    Any,
    /// Nobody's: `none`.
    None,
    /// Exactly these origins, `scheme://host[:port]` in lower case; never empty.
    List(Vec<String>),
}

impl CorsOrigins {
    /// Reads `*`, `none` or a comma-separated list of origins.
    ///
    /// # Errors
    /// Names the first part that is no origin.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "*" => return Ok(Self::Any),
            "none" => return Ok(Self::None),
            _ => {}
        }
        text.split(',').map(|part| origin(part.trim())).collect::<Result<_, _>>().map(Self::List)
    }
}

fn origin(text: &str) -> Result<String, String> {
    let mistake = || {
        format!(
            "`{text}` is no origin: write `*`, `none`, or origins such as https://app.example.org \
             with commas between"
        )
    };
    let uri: Uri = text.parse().map_err(|_| mistake())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(mistake());
    };
    let origin = format!("{scheme}://{authority}");
    // What a browser sends has no path, not even `/`, and no upper case.
    let exact = origin == text && text == text.to_ascii_lowercase() && !text.contains(['@', '*']);
    if exact { Ok(origin) } else { Err(mistake()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        let parse = |text| BaseUrl::parse(text).map(|url| url.as_str().to_owned());
        assert_eq!(parse("https://a.example/").unwrap(), "https://a.example");
        assert_eq!(parse("http://[::1]:80/x/y//").unwrap(), "http://[::1]:80/x/y");
        for wrong in ["", "a.example", "ftp://a.example", "http://", "http://a/?b", "http://a/#b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let message = parse("http://user:hunter2@a.example").unwrap_err();
        assert!(message.contains("passwords") && !message.contains("hunter2"));
    }

    #[test]
    fn origins() {
        assert_eq!(CorsOrigins::parse("*"), Ok(CorsOrigins::Any));
        assert_eq!(CorsOrigins::parse("none"), Ok(CorsOrigins::None));
        assert_eq!(
            CorsOrigins::parse("https://a.example, http://localhost:3000"),
            Ok(CorsOrigins::List(vec!["https://a.example".into(), "http://localhost:3000".into()]))
        );
        for wrong in
            ["", "a.example", "https://a.example/", "https://A.example", "*,https://a", "null"]
        {
            assert!(CorsOrigins::parse(wrong).is_err(), "{wrong}");
        }
    }
}
