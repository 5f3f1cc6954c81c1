//! One page of names, by ListObjectsV2.
//!
//! Pages go on by `start-after` and not by the backend's own token, so that a cursor holds for as
//! long as a caller likes and with any replica. A common prefix is left by starting behind every
//! name that it can have.

use super::meta::{etag, time};
use super::{Effect, S3, translate};
use crate::model::{
    ErrorKind, ListItem, ListPage, ListRequest, MAX_KEY_BYTES, ObjectKey, StoreError,
};

/// The last of all characters in byte order.
const LAST: char = char::MAX;

impl S3 {
    pub(super) async fn page(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let limit = request.limit.clamp(1, 1000);
        let Some(mut start) = start_after(request) else {
            return Ok(ListPage::default());
        };
        let mut page = ListPage::default();
        loop {
            let left = limit - page.items.len() - page.common_prefixes.len();
            let found = self.fetch(request, start.as_deref(), left, &mut page).await?;
            let last = last_entry(&page);
            if !found.truncated {
                return Ok(page);
            }
            if page.items.len() + page.common_prefixes.len() >= limit {
                page.next = last;
                return Ok(page);
            }
            // A backend may give fewer than asked for, and still have more.
            match last.or(found.skipped) {
                Some(last) if start.as_deref() < Some(last.as_str()) => {
                    start = Some(behind(request, last));
                }
                _ => {
                    let detail = "the backend's listing does not go on";
                    return Err(self.error(ErrorKind::Failed, detail));
                }
            }
        }
    }

    async fn fetch(
        &self,
        request: &ListRequest,
        start: Option<&str>,
        limit: usize,
        page: &mut ListPage,
    ) -> Result<Fetched, StoreError> {
        let answer = self
            .client()
            .list_objects_v2()
            .bucket(self.bucket())
            .prefix(&request.prefix)
            .set_delimiter(request.delimiter.clone())
            .set_start_after(start.filter(|start| !start.is_empty()).map(str::to_owned))
            .max_keys(i32::try_from(limit).unwrap_or(1000))
            .send()
            .await;
        let answer =
            answer.map_err(|e| translate(self.shared.options.provider, Effect::Read, e))?;
        let mut skipped = None;
        for object in answer.contents.unwrap_or_default() {
            let incomplete =
                || self.error(ErrorKind::Failed, "the backend's listing has an incomplete entry");
            let key = ObjectKey::new(object.key.as_deref().ok_or_else(incomplete)?);
            if request.after.as_deref().is_some_and(|after| key.as_str() <= after) {
                skipped = Some(key.as_str().to_owned());
                continue;
            }
            page.items.push(ListItem {
                key,
                etag: etag(object.e_tag.as_deref()).ok_or_else(incomplete)?,
                stored_size: object
                    .size
                    .and_then(|size| u64::try_from(size).ok())
                    .ok_or_else(incomplete)?,
                last_modified: time(object.last_modified).ok_or_else(incomplete)?,
                attributes: None,
            });
        }
        for common in answer.common_prefixes.unwrap_or_default() {
            let Some(prefix) = common.prefix else { continue };
            // One that was left already comes again where a name is not beyond the start.
            if request.after.as_deref().is_some_and(|after| prefix.as_str() <= after) {
                skipped = Some(prefix);
            } else {
                page.common_prefixes.push(prefix);
            }
        }
        Ok(Fetched { truncated: answer.is_truncated.unwrap_or(false), skipped })
    }
}

struct Fetched {
    truncated: bool,
    /// An entry that belongs to an earlier page.
    skipped: Option<String>,
}

fn last_entry(page: &ListPage) -> Option<String> {
    let item = page.items.last().map(|item| item.key.as_str());
    item.max(page.common_prefixes.last().map(String::as_str)).map(str::to_owned)
}

/// Where the backend is to start; `None` where nothing can follow.
#[expect(clippy::option_option, reason = "nothing follows, from the start, from there")]
fn start_after(request: &ListRequest) -> Option<Option<String>> {
    let Some(after) = &request.after else {
        return Some(None);
    };
    if after.as_str() > request.prefix.as_str() && !after.starts_with(&request.prefix) {
        return None;
    }
    Some(Some(behind(request, after.clone())))
}

/// A name behind an entry and everything rolled up in it.
fn behind(request: &ListRequest, entry: String) -> String {
    let rest = entry.strip_prefix(&request.prefix);
    let delimiter = request.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let rolled_up = rest.zip(delimiter).and_then(|(rest, delimiter)| {
        Some(request.prefix.len() + rest.find(delimiter)? + delimiter.len())
    });
    match rolled_up {
        Some(end) => {
            let mut last = entry[..end].to_owned();
            while last.len() + LAST.len_utf8() <= MAX_KEY_BYTES {
                last.push(LAST);
            }
            last
        }
        None => match entry.find(char::is_control) {
            // Not to be said in XML, where some backends repeat it. What comes before is skipped.
            Some(control) => entry[..control].to_owned(),
            None => entry,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> ListRequest {
        ListRequest {
            prefix: prefix.into(),
            delimiter: delimiter.map(str::to_owned),
            limit: 10,
            after: after.map(str::to_owned),
        }
    }

    #[test]
    fn starts_behind_what_was_seen() {
        assert_eq!(start_after(&request("a/", None, None)), Some(None));
        assert_eq!(start_after(&request("a/", None, Some("a/b"))), Some(Some("a/b".into())));
        assert_eq!(start_after(&request("b", None, Some("a"))), Some(Some("a".into())));
        assert_eq!(start_after(&request("b", None, Some("c"))), None);
        let behind = start_after(&request("", Some("/"), Some("a/"))).flatten().unwrap();
        assert!(behind.as_str() > "a/zzz" && behind.as_str() > "a/\u{10ffff}x");
        assert!(behind.as_str() < "a0" && behind.len() <= MAX_KEY_BYTES);
    }
}
