//! The meaning of a listing, spelled out over sorted metadata.
//!
//! Walks everything for each page: the oracle is to be right, not fast.

use crate::model::{ListItem, ListPage, ListRequest, ObjectMeta};

/// The page that a request asks for. `objects` come in byte order of their keys.
pub(super) fn page<'a>(
    objects: impl Iterator<Item = &'a ObjectMeta>,
    request: &ListRequest,
) -> ListPage {
    let mut page = ListPage::default();
    let mut last = None;
    for meta in objects {
        let name = meta.key.as_str();
        let Some(rest) = name.strip_prefix(&request.prefix) else { continue };
        let rolled = request.delimiter.as_ref().and_then(|delimiter| {
            let at = rest.find(delimiter)?;
            Some(&name[..request.prefix.len() + at + delimiter.len()])
        });
        let entry = rolled.unwrap_or(name);
        // Names below one common prefix are neighbours, so only the last entry can repeat.
        let seen = last == Some(entry);
        if seen || request.after.as_deref().is_some_and(|after| entry <= after) {
            continue;
        }
        if page.items.len() + page.common_prefixes.len() == request.limit {
            page.next = last.map(str::to_owned);
            return page;
        }
        match rolled {
            Some(prefix) => page.common_prefixes.push(prefix.to_owned()),
            None => page.items.push(item(meta)),
        }
        last = Some(entry);
    }
    page
}

fn item(meta: &ObjectMeta) -> ListItem {
    ListItem {
        key: meta.key.clone(),
        etag: meta.etag.clone(),
        stored_size: meta.stored_size,
        last_modified: meta.last_modified,
        attributes: Some(meta.attributes.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::{Attributes, ETag, Lock, ObjectKey, Provider};

    fn entries(names: &[&str], prefix: &str, delimiter: &str, limit: usize) -> Vec<Vec<String>> {
        let mut objects: Vec<ObjectMeta> = names.iter().map(|name| meta(name)).collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        let delimiter = (!delimiter.is_empty()).then(|| delimiter.to_owned());
        let mut request = ListRequest { prefix: prefix.into(), delimiter, limit, after: None };
        let mut pages = Vec::new();
        loop {
            let page = page(objects.iter(), &request);
            let mut names: Vec<_> = page.items.iter().map(|i| i.key.to_string()).collect();
            names.extend(page.common_prefixes);
            names.sort();
            pages.push(names);
            let Some(next) = page.next else { return pages };
            request.after = Some(next);
        }
    }

    fn meta(name: &str) -> ObjectMeta {
        ObjectMeta {
            key: ObjectKey::new(name),
            etag: ETag::new("1"),
            version_id: None,
            stored_size: 0,
            last_modified: SystemTime::UNIX_EPOCH,
            attributes: Attributes::new("text/plain"),
            lock: Lock::default(),
            provider: Provider::Memory,
        }
    }

    #[test]
    fn pages_as_worked_out_by_hand() {
        let names = ["a/1", "a/2", "a", "b", "a-x", "ä", "B"];
        assert_eq!(
            entries(&names, "", "", 3),
            [vec!["B", "a", "a-x"], vec!["a/1", "a/2", "b"], vec!["ä"]]
        );
        assert_eq!(
            entries(&names, "", "/", 2),
            [vec!["B", "a"], vec!["a-x", "a/"], vec!["b", "ä"]]
        );
        assert_eq!(entries(&names, "a/", "/", 2), [vec!["a/1", "a/2"]]);
        assert_eq!(entries(&["p--q", "p--r", "p-"], "", "--", 9), [vec!["p-", "p--"]]);
        assert_eq!(entries(&names, "zz", "/", 1), [Vec::<String>::new()]);
    }
}
