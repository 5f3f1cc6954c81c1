//! The search for an order that explains a history.

use std::collections::HashSet;

use super::NAMES;

/// What a caller asked; names are numbers.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Put { name: usize, create: bool, large: bool },
    Copy { from: usize, to: usize, create: bool },
    Rename { from: usize, to: usize, create: bool },
    Delete { name: usize },
    Get { name: usize },
    List,
}

/// What it was told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Wrote { replaced: Option<bool> },
    Deleted(bool),
    Read(u32),
    Listed(Vec<usize>),
    NotFound,
    AlreadyExists,
}

/// A call, the value it would write, its answer, and when it began and ended.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) call: Call,
    pub(super) value: u32,
    pub(super) answer: Answer,
    pub(super) began: u64,
    pub(super) ended: u64,
}

/// The whole model: each name has a value or none.
type State = [Option<u32>; NAMES];

/// The answer that a call would get, and the state after it.
fn apply(mut state: State, call: &Call, value: u32) -> (State, Answer) {
    let write = |state: &mut State, to: usize, create: bool, value| {
        if create && state[to].is_some() {
            return Answer::AlreadyExists;
        }
        Answer::Wrote { replaced: Some(state[to].replace(value).is_some()) }
    };
    let answer = match *call {
        Call::Put { name, create, .. } => write(&mut state, name, create, value),
        Call::Copy { from, to, create } => match state[from] {
            Some(value) => write(&mut state, to, create, value),
            None => Answer::NotFound,
        },
        Call::Rename { from, to, create } => match state[from] {
            Some(value) => {
                let answer = write(&mut state, to, create, value);
                if answer != Answer::AlreadyExists {
                    state[from] = None;
                }
                answer
            }
            None => Answer::NotFound,
        },
        Call::Delete { name } => Answer::Deleted(state[name].take().is_some()),
        Call::Get { name } => state[name].map_or(Answer::NotFound, Answer::Read),
        Call::List => Answer::Listed((0..NAMES).filter(|&name| state[name].is_some()).collect()),
    };
    (state, answer)
}

/// Whether some order of the calls gives every answer and respects which ended before which began.
pub(super) fn explains(history: &[Event]) -> bool {
    let mut seen = HashSet::new();
    extend(history, 0, [None; NAMES], &mut seen)
}

/// Depth first: `done` is the set of calls already ordered.
fn extend(history: &[Event], done: u32, state: State, seen: &mut HashSet<(u32, State)>) -> bool {
    if done.count_ones() as usize == history.len() {
        return true;
    }
    if !seen.insert((done, state)) {
        return false;
    }
    let waiting = |index: &usize| done & (1 << index) == 0;
    // Only a call that began before every waiting call has ended may come next.
    let Some(deadline) = (0..history.len()).filter(waiting).map(|i| history[i].ended).min() else {
        return true;
    };
    (0..history.len()).filter(waiting).any(|index| {
        let event = &history[index];
        if event.began > deadline {
            return false;
        }
        let (next, answer) = apply(state, &event.call, event.value);
        agrees(&answer, &event.answer) && extend(history, done | (1 << index), next, seen)
    })
}

/// A store may leave open whether it replaced something.
fn agrees(model: &Answer, real: &Answer) -> bool {
    match (model, real) {
        (Answer::Wrote { .. }, Answer::Wrote { replaced: None }) => true,
        _ => model == real,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(call: Call, answer: Answer, began: u64, ended: u64) -> Event {
        Event { call, value: 7, answer, began, ended }
    }

    #[test]
    fn order_of_time_is_respected() {
        let put = || Call::Put { name: 0, create: true, large: false };
        let wrote = || Answer::Wrote { replaced: Some(false) };
        let get = |answer, began, ended| event(Call::Get { name: 0 }, answer, began, ended);
        let at_once = [event(put(), wrote(), 0, 3), get(Answer::NotFound, 1, 2)];
        assert!(explains(&at_once), "a read during the write may miss it");
        let after = [event(put(), wrote(), 0, 1), get(Answer::NotFound, 2, 3)];
        assert!(!explains(&after), "a read after the write must not");
        let back =
            [event(put(), wrote(), 0, 5), get(Answer::Read(7), 1, 2), get(Answer::NotFound, 3, 4)];
        assert!(!explains(&back), "what was seen stays");
        let twice = [event(put(), wrote(), 0, 2), event(put(), wrote(), 1, 3)];
        assert!(!explains(&twice), "two creates cannot both win");
    }
}
