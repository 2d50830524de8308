//! What `bake up` says.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edge::Edge;
use release::keys::Site;
use release::record::Trigger;
use release::wire;
use serde_json::json;
use tokio::sync::watch;

use crate::print::{self, say, tell};
use crate::system::UpFile;
use crate::worker::{Event, Tell};
use crate::{failure, logs};

/// Longest that a publish waits for the edge before its line is printed all the same.
const FRESH: Duration = Duration::from_secs(5);

/// What `up` says: lines for people on standard output, or JSON.
pub(super) struct Out {
    pub json: bool,
}

impl Out {
    pub fn line(&self, text: &str, event: &serde_json::Value) {
        if self.json { say!("{}", wire::plain(event.to_string())) } else { say!("{text}") }
    }

    pub fn ready(&self, folder: &Path, up: &UpFile) {
        let text = format!(
            "\nYour site is up.\n\n  site    {edge}/\n  api     {api}\n  bucket  {bucket} (S3, bucket `{name}`)\n\n\
             Try next:\n  - open {edge}/ in a browser\n  - change a file below {content} and save it: it is live at once\n  \
             - bake releases          every version so far\n  - bake rollback          the one before, again\n  \
             - bake purge --url /     a receipt for a dropped copy\n\nCtrl-C stops.\n",
            edge = up.edge,
            api = up.api,
            bucket = up.bucket.endpoint,
            name = up.bucket.name,
            content = folder.join("content").display(),
        );
        self.line(
            &text,
            &json!({"event": "ready", "edge": up.edge, "api": up.api, "bucket": up.bucket.endpoint, "pid": up.pid}),
        );
    }

    pub fn stopping(&self) {
        self.line("stopping", &json!({"event": "stopping"}));
    }
}

/// Tells people of publishes, and waits until the edge has them.
pub(super) struct Teller {
    out: Arc<Out>,
    edge: Arc<Edge>,
    site: Site,
    first: watch::Sender<Option<bool>>,
    /// What failed last: a schedule that meets the same again and again says so in one line.
    failed: Mutex<Option<String>>,
}

impl Teller {
    /// `first` hears of the end of the first render, and whether it went well.
    pub fn new(out: Arc<Out>, edge: Arc<Edge>, site: Site, first: watch::Sender<Option<bool>>) -> Self {
        Self { out, edge, site, first, failed: Mutex::default() }
    }

    /// Whether this is what failed last time too.
    fn is_known(&self, failed: Option<&anyhow::Error>) -> bool {
        let text = failed.map(|error| format!("{error:#}"));
        let mut last = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = *last == text;
        *last = text;
        is_known
    }

    fn first_is_over(&self, well: bool) {
        self.first.send_if_modified(|first| first.is_none() && first.replace(well).is_none());
    }
}

#[async_trait::async_trait]
impl Tell for Teller {
    async fn published(&self, event: &Event) {
        self.is_known(None);
        let Some(committed) = &event.committed else {
            self.first_is_over(true);
            let quiet = matches!(event.trigger, Trigger::Schedule(_) | Trigger::Due);
            if !quiet {
                let text = format!(
                    "nothing changed ({}); {} stays",
                    event.trigger,
                    print::release(event.release.as_ref())
                );
                self.out.line(&text, &json!({"event": "unchanged", "release": event.release, "trigger": event.trigger.to_string()}));
            }
            return;
        };
        let began = Instant::now();
        let fresh = tokio::time::timeout(FRESH, self.edge.applied(&self.site, committed.seq)).await.is_ok();
        let edge = began.elapsed();
        self.first_is_over(true);
        let total = event.saved.elapsed().unwrap_or_default();
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let parts = [
            ("notice", ms(event.notice)),
            ("render", ms(event.render)),
            ("upload", ms(event.upload)),
            ("commit", ms(event.commit)),
            ("edge", ms(edge)),
            ("total", ms(total)),
        ];
        let shown: Vec<&str> = event.diff.paths().take(3).collect();
        let more = match event.diff.len().saturating_sub(shown.len()) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let late = if fresh { "" } else { "; the edge has not heard of it yet" };
        // A release also tells when pages come or go, and which hosts the site has.
        let what = match shown.is_empty() {
            true => "no path differs yet; a page's time is still to come, or `hosts` differ".to_owned(),
            false => format!("{} ({}{more})", print::counts(&event.diff), shown.join(", ")),
        };
        let text = format!(
            "published {}: {what}, fresh {} ms after the {}{late}",
            print::release(event.release.as_ref()),
            ms(total),
            if event.trigger == Trigger::Watch { "save" } else { "start of the render" },
        );
        self.out.line(
            &text,
            &json!({
                "event": "published",
                "release": event.release,
                "seq": committed.seq,
                "trigger": event.trigger.to_string(),
                "added": event.diff.added,
                "changed": event.diff.changed,
                "removed": event.diff.removed,
                "uploaded": event.uploaded,
                "vanished": event.vanished.gone,
                "fresh": fresh,
                "ms": parts.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            }),
        );
        if !self.out.json {
            event.vanished.warnings().for_each(|warning| tell!("{warning}"));
        }
    }

    fn failed(&self, trigger: &Trigger, error: &anyhow::Error, retry: Option<Duration>) {
        let next = match retry {
            Some(wait) => format!("trying again in {:.1} s", wait.as_secs_f32()),
            None => "the next save tries again".to_owned(),
        };
        if logs::are_json() {
            tracing::error!(%trigger, error = failure::words(error), next, "not published");
        } else if self.is_known(Some(error)) && *trigger != Trigger::Watch {
            tell!("still not published ({trigger}), for the same reason; {next}");
        } else {
            failure::report(error);
            tell!("not published ({trigger}): what was live before still is; {next}");
        }
        if self.out.json {
            self.out.line(
                "",
                &json!({"event": "failed", "trigger": trigger.to_string(), "error": failure::words(error)}),
            );
        }
        self.first_is_over(false);
    }

    fn stale(&self, problem: &str) {
        tracing::warn!(problem, "a source failed; its last good data is used");
        if self.out.json {
            self.out.line("", &json!({"event": "stale", "problem": problem}));
        }
    }

    fn held(&self, trigger: &Trigger) {
        let text =
            format!("held back ({trigger}): a rollback is in force; `bake publish` or `bake resume` ends it");
        self.out.line(&text, &json!({"event": "held", "trigger": trigger.to_string()}));
        self.first_is_over(false);
    }
}
