//! Did you mean …: names that are a slip of the hand away from a known one.

/// The known name nearest to `name`, where it is near enough to be what was meant: at most one
/// edit in three characters (insertion, deletion, replacement, swap of neighbours).
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(edits, _)| edits * 3 <= name.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Whether Kubernetes makes up such names for a Service (`STORAGE_SERVICE_HOST`, `STORAGE_PORT`,
/// `STORAGE_PORT_8080_TCP_ADDR`): never a person's slip.
pub(super) fn is_service_link(name: &str) -> bool {
    let numbered_port = name
        .split("_PORT_")
        .skip(1)
        .any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    name.ends_with("_PORT")
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT_")
        || numbered_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["listen", "log", "timeout", "max_object_bytes"];
        assert_eq!(nearest("listne", known), Some("listen"));
        assert_eq!(nearest("time_out", known), Some("timeout"));
        assert_eq!(nearest("maxobjectbytes", known), Some("max_object_bytes"));
        assert_eq!(nearest("lgo", known), Some("log"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn service_links_are_known() {
        for name in [
            "STORAGE_PORT",
            "STORAGE_SERVICE_HOST",
            "STORAGE_SERVICE_PORT",
            "STORAGE_SERVICE_PORT_HTTP",
            "STORAGE_PORT_8080_TCP",
            "STORAGE_PORT_8080_TCP_ADDR",
            "STORAGE_LOG_PORT_80_UDP_PROTO",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        assert!(!is_service_link("STORAGE_LISTNE"));
        assert!(!is_service_link("STORAGE_IMPORT_MODE"));
    }
}
