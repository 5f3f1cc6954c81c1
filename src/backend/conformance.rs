//! The contract of [`Backend`] as code: what every backend, layer and pool must pass.
//!
//! Each case gets a store of its own that is empty, and panics with the rule that the store
//! breaks. Cases are chosen by capability: where a store says [`Support::No`] the same case
//! asserts that the feature is refused with `Unsupported`, because nothing may be ignored. It is
//! compiled into the library, so that a new backend outside this crate's tests can be held to it.
//! Needs a multi-threaded Tokio runtime: the races are real.
//!
//! [`Support::No`]: crate::model::Support::No

mod attributes;
mod delete;
mod fixture;
mod list;
mod names;
mod observed;
mod races;
mod range;
mod relocate;
mod streams;
mod usage;
mod write;

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::Backend;

/// One named part of the contract.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    run: fn(Arc<dyn Backend>) -> BoxFuture<'static, ()>,
}

/// A case that a store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of the case.
    pub case: &'static str,
    /// The broken rule and what was seen.
    pub message: String,
}

impl Case {
    /// Its name, such as `list::paging_gives_exactly_all`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it against an empty store.
    ///
    /// # Errors
    /// The rule that the store breaks.
    pub async fn check(&self, store: Arc<dyn Backend>) -> Result<(), Failure> {
        AssertUnwindSafe((self.run)(store))
            .catch_unwind()
            .await
            .map_err(|panic| Failure { case: self.name, message: message(&*panic) })
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}

/// Holds a store to every case; `make` opens a fresh and empty one for each.
///
/// # Panics
/// A case fails; the message has all that did, by name.
pub async fn run<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Backend>>,
{
    let mut failures = Vec::new();
    for case in CASES {
        failures.extend(case.check(make().await).await.err());
    }
    let report: String =
        failures.iter().map(|f| format!("\n  {}: {}", f.case, f.message)).collect();
    assert!(failures.is_empty(), "{} of {} cases failed:{report}", failures.len(), CASES.len());
}

/// The case of a name.
pub fn case(name: &str) -> Option<Case> {
    CASES.iter().find(|case| case.name == name).copied()
}

macro_rules! cases {
    ($($module:ident::$case:ident,)*) => {
        &[$(Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            run: |store| Box::pin($module::$case(store)),
        }),*]
    };
}

/// Every case, in the order in which they are worth reading.
pub const CASES: &[Case] = cases![
    write::create_refuses_a_second,
    write::overwrite_replaces_everything,
    write::replace_needs_exactly_that_version,
    write::answer_is_what_head_gives,
    write::every_write_has_its_own_etag,
    write::empty_object_is_an_object,
    write::bytes_survive_at_every_size,
    write::spooled_body_is_stored_whole,
    write::shorter_and_longer_bodies_leave_no_rest,
    attributes::all_travel_with_the_object,
    attributes::long_and_unicode_values_survive,
    attributes::storage_class_is_kept_or_refused,
    attributes::encryption_is_kept_or_refused,
    attributes::tags_are_kept_or_refused,
    names::odd_names_are_kept_apart,
    names::longest_name_works,
    names::normal_forms_are_two_keys,
    range::any_part_is_exact,
    range::past_the_end_is_invalid,
    range::if_match_pins_the_version,
    delete::is_idempotent,
    delete::if_match_spares_other_versions,
    delete::many_answers_in_order,
    delete::many_handles_thousands,
    delete::key_can_be_used_again,
    list::empty_store_has_one_empty_page,
    list::order_is_of_bytes,
    list::prefix_is_exact,
    list::delimiter_rolls_up,
    list::delimiter_of_several_bytes,
    list::limit_counts_common_prefixes,
    list::paging_gives_exactly_all,
    list::after_need_not_exist,
    list::page_of_a_thousand,
    list::items_say_what_head_says,
    relocate::copy_leaves_the_source,
    relocate::salvage_keeps_the_bytes_and_leaves_the_source,
    relocate::rename_removes_the_source,
    relocate::missing_source_is_not_found,
    relocate::create_spares_the_destination,
    relocate::overwrite_and_replace_of_the_destination,
    relocate::onto_itself_is_invalid,
    relocate::large_bodies_travel_whole,
    relocate::copies_are_independent,
    streams::dropped_early_harms_nothing,
    streams::deleted_meanwhile,
    streams::overwritten_meanwhile,
    usage::counts_a_mixed_history,
    usage::counts_after_races,
    races::create_has_one_winner,
    races::replace_has_one_winner,
    races::delete_or_replace_wins,
    races::rename_of_one_source_has_one_winner,
    races::rename_to_one_destination_has_one_winner,
    races::cancelled_writes_are_done_or_not,
    races::cancelled_renames_are_done_or_not,
    observed::writes_are_read_at_once,
    observed::overwrites_are_never_mixed,
    observed::overwritten_sources_are_copied_whole,
    observed::renames_are_never_seen_half,
    observed::lists_are_whole_while_written,
];

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_else(|| "panicked without a text".to_owned())
}
