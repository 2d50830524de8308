//! Reasons to publish, and what those that come together ask for.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use origin::publish::SourceFile;
use release::record::Trigger;
use release::wire::{Failure, PublishRequest, Published};
use renderer::schedule::Firing;
use tokio::sync::oneshot;

use crate::fetched::Ask;
use crate::watch::Change;

/// Why to publish.
#[derive(Debug)]
pub enum Reason {
    /// The process started.
    Start,
    /// Files were saved.
    Saved(Change),
    /// What publishes have left out since a save at this moment.
    Postponed(SystemTime),
    /// A schedule fired; the sender is told when its run has ended.
    Fired(Firing, oneshot::Sender<()>),
    /// Someone asked.
    Asked(Box<Asked>),
}

/// Someone asked to publish.
#[derive(Debug)]
pub struct Asked {
    /// How.
    pub(super) request: PublishRequest,
    /// What; what the worker knows, where nothing was sent.
    pub(super) sources: Option<Vec<SourceFile>>,
    pub(super) answer: oneshot::Sender<Result<Published, Failure>>,
}

/// Reasons that have come together.
pub(super) struct Batch {
    pub(super) trigger: Trigger,
    /// When the newest save was.
    pub(super) saved: Option<SystemTime>,
    pub(super) began: SystemTime,
    /// Whether nothing is to be left for later.
    pub(super) whole: bool,
    /// What of the folder may have changed; none where that may be anything.
    pub(super) paths: Option<BTreeSet<String>>,
    /// Which sources to ask: all, some, or none but those that failed before.
    pub(super) ask: Ask,
    /// Sources that were asked for it already.
    pub(super) called: BTreeSet<String>,
    /// Why it would come about without the reasons that wait for sources: schedules and people who ask.
    pub(super) hasty: Option<Trigger>,
    pub(super) fired: Vec<(Firing, oneshot::Sender<()>)>,
    pub(super) asked: Vec<Asked>,
    /// Whether somebody asks for it, and not only for a try of before.
    pub(super) is_asked: bool,
}

impl Batch {
    pub(super) fn of(reasons: Vec<Reason>, retry: Option<Trigger>) -> Self {
        let of_save = |reason: &Reason| matches!(reason, Reason::Saved(_) | Reason::Postponed(_));
        let only_saves = retry.is_none() && reasons.iter().all(of_save);
        let mut batch = Self {
            hasty: retry.clone().filter(|trigger| !is_patient(trigger)),
            trigger: retry.unwrap_or(Trigger::Watch),
            saved: None,
            whole: false,
            paths: only_saves.then(BTreeSet::new),
            began: SystemTime::now(),
            ask: Ask::NONE,
            called: BTreeSet::new(),
            fired: Vec::new(),
            asked: Vec::new(),
            is_asked: false,
        };
        let (mut rank, mut hasty_rank) = (0, 0);
        for reason in reasons {
            let (trigger, weight) = match reason {
                Reason::Saved(change) => {
                    batch.saved = batch.saved.max(Some(change.saved));
                    batch.paths = batch.paths.zip(change.paths).map(|(mut all, more)| {
                        all.extend(more);
                        all
                    });
                    (Trigger::Watch, 1)
                }
                Reason::Postponed(saved) => {
                    batch.saved = batch.saved.max(Some(saved));
                    batch.whole = true;
                    (Trigger::Watch, 1)
                }
                Reason::Fired(firing, done) => {
                    let trigger = match &firing.reason {
                        renderer::schedule::Reason::Schedule { name, sources, .. } => {
                            batch.ask.add(sources.clone());
                            (Trigger::Schedule(name.clone()), 3)
                        }
                        // Sources whose next try is due are asked whatever the reason.
                        _ => (Trigger::Due, 2),
                    };
                    batch.fired.push((firing, done));
                    trigger
                }
                Reason::Start => {
                    batch.ask = Ask::All;
                    (Trigger::Start, 4)
                }
                Reason::Asked(asked) => {
                    batch.ask = Ask::All;
                    batch.asked.push(*asked);
                    batch.is_asked = true;
                    (Trigger::Manual, 5)
                }
            };
            if !is_patient(&trigger) && weight > hasty_rank {
                hasty_rank = weight;
                batch.hasty = Some(trigger.clone());
            }
            if weight > rank {
                rank = weight;
                batch.trigger = trigger;
            }
        }
        batch
    }

    /// Asks no sources but those that cannot be gone without: these have answered.
    pub(super) fn with_answers(self, called: BTreeSet<String>) -> Self {
        Self { ask: Ask::NONE, called, ..self }
    }
}

pub(super) fn is_of_schedule(firing: &Firing) -> bool {
    matches!(firing.reason, renderer::schedule::Reason::Schedule { .. })
}

/// Whether what comes about by this waits for sources that are slow.
pub(super) fn is_patient(trigger: &Trigger) -> bool {
    matches!(trigger, Trigger::Schedule(_) | Trigger::Manual)
}

pub(super) fn trigger_label(trigger: &Trigger) -> &'static str {
    match trigger {
        Trigger::Manual => "manual",
        Trigger::Watch => "watch",
        Trigger::Start => "start",
        Trigger::Schedule(_) => "schedule",
        Trigger::Due => "due",
    }
}

/// What a publish has left out: search indexes of a large site.
#[derive(Debug, Clone, Copy)]
pub(super) struct Postponed {
    /// The oldest save that they lack.
    pub(super) saved: SystemTime,
    /// The latest moment to publish them, and the moment at which that is to be done.
    latest: tokio::time::Instant,
    pub(super) due: tokio::time::Instant,
}

impl Postponed {
    /// After another save that they lack: a while later, so that saves that come one after the other are live first.
    pub(super) fn after(before: Option<Self>, saved: Option<SystemTime>) -> Self {
        let now = tokio::time::Instant::now();
        let (saved, latest) = match before {
            Some(before) => (before.saved, before.latest),
            None => (saved.unwrap_or_else(SystemTime::now), now + POSTPONED_MAX),
        };
        Self { saved, latest, due: latest.min(now + POSTPONED) }
    }
}

/// How long after a save search indexes that were left out are published, and how long at most where saves go on.
const POSTPONED: Duration = Duration::from_millis(300);
const POSTPONED_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_try_of_what_somebody_asked_for_is_not_asked_for() {
        let again = Batch::of(Vec::new(), Some(Trigger::Manual));
        assert!(again.trigger == Trigger::Manual && !again.is_asked);
        let asked = Asked { request: PublishRequest::default(), sources: None, answer: oneshot::channel().0 };
        let asked = Batch::of(vec![Reason::Asked(Box::new(asked))], None);
        assert!(asked.trigger == Trigger::Manual && asked.is_asked);
    }
}
