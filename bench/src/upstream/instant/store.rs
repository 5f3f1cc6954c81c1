//! What the instant S3 keeps, by the path of the request, and how it answers.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{Answer, Cheat, Page, status};

/// What is kept of a write's headers, beside `x-amz-meta-*`, and given back.
const KEPT: [HeaderName; 3] =
    [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CACHE_CONTROL];
/// When everything was written: no contestant compares times.
const LAST_MODIFIED: HeaderValue = HeaderValue::from_static("Wed, 01 Jan 2025 00:00:00 GMT");

struct Object {
    body: Bytes,
    headers: HeaderMap,
}

struct Upload {
    headers: HeaderMap,
    parts: BTreeMap<u32, Bytes>,
}

/// Everything, in memory.
#[derive(Default)]
pub(super) struct Store {
    objects: HashMap<String, Object>,
    uploads: HashMap<String, Upload>,
    /// Makes ETags and names of uploads.
    writes: u64,
    cheat: Option<Cheat>,
}

impl Store {
    pub(super) fn new(cheat: Option<Cheat>) -> Self {
        Self { cheat, ..Self::default() }
    }

    pub(super) fn get(&self, path: &str, headers: &HeaderMap) -> Answer {
        let Some(object) = self.objects.get(path) else { return missing() };
        if !meets(headers, Some(object)) {
            return status(StatusCode::PRECONDITION_FAILED);
        }
        let mut body = object.body.clone();
        if self.cheat == Some(Cheat::Flip) && !body.is_empty() {
            let mut bytes = body.to_vec();
            bytes[body.len() / 2] ^= 1;
            body = bytes.into();
        }
        let mut answer = Answer::new(Full::new(body));
        *answer.headers_mut() = object.headers.clone();
        answer
    }

    pub(super) fn list(&self, path: &str, page: &Page) -> Answer {
        let bucket = format!("{}/", path.trim_end_matches('/'));
        let named = self.objects.iter().filter_map(|(path, object)| {
            let key = path.strip_prefix(&bucket)?;
            (key.starts_with(&page.prefix) && key > page.after.as_str()).then_some((key, object))
        });
        let mut named: Vec<_> = named.collect();
        named.sort_unstable_by_key(|(key, _)| *key);
        let is_cut = named.len() > page.most;
        named.truncate(page.most);
        let mut text = format!("<ListBucketResult><IsTruncated>{is_cut}</IsTruncated>");
        if let (true, Some((last, _))) = (is_cut, named.last()) {
            text += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
        }
        for (key, object) in named {
            let etag = object.headers.get(header::ETAG).map_or(&b""[..], HeaderValue::as_bytes);
            text += &format!(
                "<Contents><Key>{key}</Key><ETag>{}</ETag><Size>{}</Size>\
                 <LastModified>2025-01-01T00:00:00.000Z</LastModified></Contents>",
                String::from_utf8_lossy(etag),
                object.body.len()
            );
        }
        xml(&(text + "</ListBucketResult>"))
    }

    pub(super) fn put(&mut self, path: &str, headers: &HeaderMap, body: Bytes) -> Answer {
        if !meets(headers, self.objects.get(path)) {
            return status(StatusCode::PRECONDITION_FAILED);
        }
        let etag = self.keep(path, headers, body);
        let mut answer = status(StatusCode::OK);
        answer.headers_mut().insert(header::ETAG, etag);
        answer
    }

    pub(super) fn delete(&mut self, path: &str, headers: &HeaderMap) -> Answer {
        if !meets(headers, self.objects.get(path)) {
            return status(StatusCode::PRECONDITION_FAILED);
        }
        self.objects.remove(path);
        status(StatusCode::NO_CONTENT)
    }

    pub(super) fn copy(&mut self, source: &str, path: &str, headers: &HeaderMap) -> Answer {
        let source = format!("/{}", source.trim_start_matches('/'));
        let Some(object) = self.objects.get(&source) else { return missing() };
        let (body, kept) = (object.body.clone(), object.headers.clone());
        if !meets(headers, self.objects.get(path)) {
            return status(StatusCode::PRECONDITION_FAILED);
        }
        let etag = self.keep(path, &kept, body);
        let etag = String::from_utf8_lossy(etag.as_bytes()).into_owned();
        xml(&format!(
            "<CopyObjectResult><ETag>{etag}</ETag>\
             <LastModified>2025-01-01T00:00:00.000Z</LastModified></CopyObjectResult>"
        ))
    }

    pub(super) fn begin(&mut self, headers: &HeaderMap) -> Answer {
        self.writes += 1;
        let id = self.writes.to_string();
        let upload = Upload { headers: kept(headers), parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), upload);
        xml(&format!(
            "<InitiateMultipartUploadResult><UploadId>{id}</UploadId>\
             </InitiateMultipartUploadResult>"
        ))
    }

    pub(super) fn part(&mut self, upload: &str, number: u32, body: Bytes) -> Answer {
        let Some(upload) = self.uploads.get_mut(upload) else { return missing() };
        upload.parts.insert(number, body);
        let mut answer = status(StatusCode::OK);
        answer.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"part\""));
        answer
    }

    pub(super) fn complete(&mut self, id: &str, path: &str, headers: &HeaderMap) -> Answer {
        let Some(upload) = self.uploads.get(id) else { return missing() };
        if !meets(headers, self.objects.get(path)) {
            return status(StatusCode::PRECONDITION_FAILED);
        }
        let mut body = BytesMut::new();
        upload.parts.values().for_each(|part| body.extend_from_slice(part));
        let headers = upload.headers.clone();
        self.uploads.remove(id);
        let etag = self.keep(path, &headers, body.freeze());
        let etag = String::from_utf8_lossy(etag.as_bytes()).into_owned();
        xml(&format!(
            "<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>"
        ))
    }

    pub(super) fn abort(&mut self, id: &str) -> Answer {
        self.uploads.remove(id);
        status(StatusCode::NO_CONTENT)
    }

    /// Keeps an object and answers its new ETag.
    fn keep(&mut self, path: &str, headers: &HeaderMap, body: Bytes) -> HeaderValue {
        self.writes += 1;
        let etag = HeaderValue::from_str(&format!("\"{:032x}\"", self.writes));
        let etag = etag.unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        let mut headers = kept(headers);
        headers.insert(header::ETAG, etag.clone());
        headers.insert(header::LAST_MODIFIED, LAST_MODIFIED);
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        if self.cheat != Some(Cheat::Forget) {
            self.objects.insert(path.to_owned(), Object { body, headers });
        }
        etag
    }
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        if KEPT.contains(name) || name.as_str().starts_with("x-amz-meta-") {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// Whether `If-Match` and `If-None-Match` hold for what is there.
fn meets(headers: &HeaderMap, found: Option<&Object>) -> bool {
    let etag = found.and_then(|object| object.headers.get(header::ETAG));
    let absent = headers.get(header::IF_NONE_MATCH).is_none_or(|_| etag.is_none());
    let same = headers.get(header::IF_MATCH).is_none_or(|wanted| Some(wanted) == etag);
    absent && same
}

fn missing() -> Answer {
    let mut answer = xml("<Error><Code>NoSuchKey</Code><Message>there is none</Message></Error>");
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

fn xml(text: &str) -> Answer {
    let mut answer = Answer::new(Full::new(Bytes::from(text.to_owned())));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(name, value.clone())])
    }

    #[test]
    fn conditions_hold_and_what_was_put_comes_back() {
        let mut store = Store::new(None);
        let (none, body) = (HeaderMap::new(), Bytes::from_static(b"body"));
        let absent = with(header::IF_NONE_MATCH, &HeaderValue::from_static("*"));
        let created = store.put("/b/k", &absent, body.clone());
        assert_eq!(created.status(), StatusCode::OK);
        assert_eq!(store.put("/b/k", &absent, body).status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(store.copy("b/k", "/b/k", &absent).status(), StatusCode::PRECONDITION_FAILED);
        let found = store.get("/b/k", &none);
        assert_eq!(found.headers()[header::CONTENT_LENGTH], "4");
        assert_eq!(found.headers()[header::ETAG], created.headers()[header::ETAG]);
        let other = with(header::IF_MATCH, &HeaderValue::from_static("\"other\""));
        assert_eq!(store.delete("/b/k", &other).status(), StatusCode::PRECONDITION_FAILED);
        let this = with(header::IF_MATCH, &created.headers()[header::ETAG]);
        assert_eq!(store.delete("/b/k", &this).status(), StatusCode::NO_CONTENT);
        assert_eq!(store.get("/b/k", &none).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn parts_make_an_object_unless_there_is_one() {
        let mut store = Store::new(None);
        let none = HeaderMap::new();
        store.begin(&none);
        store.part("1", 2, Bytes::from_static(b"b"));
        store.part("1", 1, Bytes::from_static(b"a"));
        store.put("/b/k", &none, Bytes::new());
        let absent = with(header::IF_NONE_MATCH, &HeaderValue::from_static("*"));
        let refused = store.complete("1", "/b/k", &absent);
        assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(store.complete("1", "/b/k", &none).status(), StatusCode::OK);
        assert_eq!(store.get("/b/k", &none).headers()[header::CONTENT_LENGTH], "2");
    }

    #[tokio::test]
    async fn names_come_in_order_and_by_pages() {
        use http_body_util::BodyExt as _;
        let mut store = Store::new(None);
        for key in ["p/c", "p/a", "q/x", "p/b"] {
            store.put(&format!("/b/{key}"), &HeaderMap::new(), Bytes::new());
        }
        let mut page = Page { prefix: "p/".into(), after: String::new(), most: 2 };
        let mut seen = Vec::new();
        for _ in 0..2 {
            let body = store.list("/b", &page).into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            let keys = text.split("<Key>").skip(1).filter_map(|part| part.split('<').next());
            seen.extend(keys.map(str::to_owned));
            assert_eq!(text.contains("<IsTruncated>true"), seen.len() == 2);
            page.after = seen[seen.len() - 1].clone();
        }
        assert_eq!(seen, ["p/a", "p/b", "p/c"]);
    }

    #[test]
    fn cheats_cheat() {
        let mut forgetful = Store::new(Some(Cheat::Forget));
        assert_eq!(forgetful.put("/b/k", &HeaderMap::new(), Bytes::new()).status(), 200);
        assert_eq!(forgetful.get("/b/k", &HeaderMap::new()).status(), 404);
    }
}
