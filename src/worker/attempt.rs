//! One publish: from sources to a release, through a draft.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use origin::policy::Policies;
use origin::publish::{About, Draft, Outcome, SourceFile};
use release::Digest;
use release::record::Trigger;
use release::wire::{PublishRequest, Published};
use renderer::data::{DataSet, Snapshot};
use renderer::{Handed, Options, Sources, Summary};

use super::known::{Known, Recorded};
use super::reason::{Batch, Postponed, is_patient};
use super::sink::{DraftSink, files_of, hand_over, is_published};
use super::stop::{Stop, blocking};
use super::{Event, From, Worker, author};
use crate::config::{Config, Vanished};
use crate::failure;
use crate::render;
use crate::vanished::{self, Loss};

/// Renders of one publish, where other publishers are faster each time.
const ATTEMPTS_MAX: u32 = 8;
/// Where the content of a site lies.
const CONTENT: &str = "content/";
/// Where snapshots of data lie among a release's sources.
const DATA_PREFIX: &str = ".bakehouse/data/";

impl Worker {
    /// Renders and publishes, again where another publisher was faster. The texts are problems of
    /// sources whose last good data stood in.
    pub(super) async fn try_publish(
        &mut self,
        batch: &Batch,
        request: &PublishRequest,
        sent: Option<&[SourceFile]>,
    ) -> Result<(Published, Vec<String>), Stop> {
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(batch, request, sent).await {
                Err(Stop::Outdated) => {
                    tracing::info!(site = %self.setup.site, "another publish was faster; rendering again on top of it");
                }
                result => return result,
            }
        }
        Err(Stop::passing(anyhow::anyhow!("other publishers were faster {ATTEMPTS_MAX} times in a row")))
    }

    async fn attempt(
        &mut self,
        batch: &Batch,
        request: &PublishRequest,
        sent: Option<&[SourceFile]>,
    ) -> Result<(Published, Vec<String>), Stop> {
        let began = Instant::now();
        let notice = batch.saved.map_or(Duration::ZERO, |at| at.elapsed().unwrap_or_default());
        let mut draft = self.begin(batch, request.plan).await?;
        let (config, sources) = self.sources(sent, batch.paths.as_ref()).await?;
        if batch.trigger != Trigger::Manual || !batch.is_asked {
            self.refuse_nothing(&sources).await?;
        }
        self.follow(&config).await?;
        let stale = self.answers(&config, batch).await?;
        let data = self.fetched.data_of(&config);
        let now = draft.now(Timestamp::now());
        let base = draft.base_seq().zip(draft.base_root());
        self.be_ready().await;
        let known = self.base_known(&draft).await?;
        let recording = Recorded {
            sources: sources.clone(),
            data: data.iter().map(|(name, _)| name.to_owned()).collect(),
            files: files_of(&config),
        };
        let input = self.input(now, &config, &sources, data);
        let soon = batch.trigger == Trigger::Watch && !batch.whole;
        let rendered = self.render(&draft, &input, known.as_ref(), recording, soon).await;
        self.known.clone_from(&known);
        let (summary, recording) = rendered?;
        self.expect_saves();
        self.note(&summary, batch);
        let render = began.elapsed();
        let about = about(request, &config, &summary, now);
        let vanished = match batch.trigger {
            // What a date makes vanish was to.
            Trigger::Due => Loss::default(),
            _ => vanished::look(&mut draft, &self.setup.publisher, &config, &sources)
                .await
                .map_err(Stop::of)?,
        };
        if config.publish.vanished == Vanished::Fail && !request.plan {
            vanished::refuse(&vanished).map_err(Stop::lasting)?;
        }
        let warnings = summary.warnings.iter().map(|w| w.as_warning().to_string());
        let mut published =
            Published { warnings: warnings.chain(vanished.warnings()).collect(), ..Published::default() };
        if request.plan {
            let plan = draft.plan(about).await.map_err(Stop::of)?;
            (published.release, published.diff, published.uploaded) = (plan.active, plan.diff, plan.uploads);
            return Ok((published, stale));
        }
        let (mut upload, mut commit) = (Duration::ZERO, Duration::ZERO);
        match draft.finish(about).await.map_err(Stop::of)? {
            Outcome::Unchanged(release) => {
                // What is recorded as the release's sources has stayed what it was.
                let recorded = known.and_then(|k| k.recorded);
                self.known = base.map(|(seq, root)| self.knows(seq, root, summary.render, recorded));
                published.release = Some(release);
            }
            Outcome::Published(done) => {
                self.known = Some(self.knows(done.committed.seq, done.root, summary.render, Some(recording)));
                (upload, commit) = (done.upload, done.commit);
                published.release = Some(done.release);
                published.committed = Some(done.committed);
                published.diff = done.diff;
                published.uploaded = done.uploaded;
            }
        }
        let event = Event {
            trigger: batch.trigger.clone(),
            release: published.release.clone(),
            committed: published.committed.clone(),
            diff: published.diff.clone(),
            uploaded: published.uploaded,
            vanished,
            saved: batch.saved.unwrap_or(batch.began),
            notice,
            render,
            upload,
            commit,
        };
        self.setup.tell.published(&event).await;
        self.remember(input, summary);
        Ok((published, stale))
    }

    /// A draft, by the rules of the configuration that was read last.
    async fn begin(&self, batch: &Batch, plan: bool) -> Result<Draft, Stop> {
        let publisher = Arc::clone(&self.setup.publisher);
        let policies = Arc::new(Policies::new(&self.rules).map_err(Stop::of)?);
        let draft = match plan {
            true => publisher.begin_plan(policies).await,
            false => publisher.begin(batch.trigger.clone(), policies).await,
        };
        draft.map_err(Stop::of)
    }

    /// Fails where all content is gone: a folder that was moved away, or a disk that is not there, empties no site unless
    /// somebody asks for it.
    async fn refuse_nothing(&self, sources: &Sources) -> Result<(), Stop> {
        if sources.under(CONTENT).next().is_some()
            || !self.setup.publisher.has_sources(CONTENT).await.map_err(Stop::of)?
        {
            return Ok(());
        }
        let error =
            anyhow::anyhow!("there is nothing in `{CONTENT}` any more, and the last release has content");
        let hint = "bring it back; to serve the site without it, run `bake publish`";
        Err(Stop::lasting(failure::hinted(error, Some(hint.to_owned()))))
    }

    /// Takes over a configuration: its rules, its schedules, and once the last good data of its sources.
    async fn follow(&mut self, config: &Config) -> Result<(), Stop> {
        let rules = config.rules();
        if rules != self.rules {
            // The draft was begun with other rules than these files have.
            self.rules = rules;
            return Err(Stop::Outdated);
        }
        if !self.seeded {
            self.seed(config).await?;
        }
        self.follow_schedules(config).await.map_err(Stop::lasting)
    }

    /// Notes what a render leaves for later, and tells what it warns of for the first time.
    fn note(&mut self, summary: &Summary, batch: &Batch) {
        for warning in summary.warnings.iter().filter(|warning| !self.warned.contains(warning)) {
            tracing::warn!("{}", warning.to_string().trim_start_matches("error: "));
        }
        self.warned.clone_from(&summary.warnings);
        self.next_change = summary.next_change;
        self.set_deadline(self.next_change);
        self.postponed = summary.postponed.then(|| Postponed::after(self.postponed.take(), batch.saved));
    }

    /// Asks the sources that a publish calls for. Waits for all where it is patient, a moment otherwise, but always for
    /// those without which there is no site. What is wrong with them.
    async fn answers(&mut self, config: &Config, batch: &Batch) -> Result<Vec<String>, Stop> {
        let asking = self.fetched.refresh(config, &batch.ask);
        let called = self.shutdown.run_until_cancelled(asking).await;
        self.set_deadline(None);
        let Some(mut called) = called else {
            return Err(Stop::passing(anyhow::anyhow!("stopped while sources were asked")));
        };
        if is_patient(&batch.trigger) && self.fetched.is_asking(&called) {
            return Err(Stop::Slow(called));
        }
        called.extend(batch.called.iter().cloned());
        self.fetched.problems(config, &called).map_err(Stop::passing)
    }

    /// Takes over the last good data of the active release, once.
    async fn seed(&mut self, config: &Config) -> Result<(), Stop> {
        if !config.source.is_empty() {
            let recorded = self.setup.publisher.data(DATA_PREFIX).await.map_err(Stop::of)?;
            for file in recorded {
                let name = file.path.strip_prefix(DATA_PREFIX).and_then(|n| n.strip_suffix(".json"));
                let Some(name) = name else { continue };
                match Snapshot::from_bytes(name, &file.bytes) {
                    Ok(snapshot) => self.fetched.seed(name, snapshot),
                    Err(error) => tracing::warn!(%error, "recorded data is not used"),
                }
            }
        }
        self.seeded = true;
        Ok(())
    }

    /// The files to render and their configuration; where `changed` is known, nothing else of a folder is looked at.
    async fn sources(
        &mut self,
        sent: Option<&[SourceFile]>,
        changed: Option<&BTreeSet<String>>,
    ) -> Result<(Config, Sources), Stop> {
        let sources = match (sent, &self.setup.from) {
            (Some(files), _) => Sources::from_files(files.iter().map(|f| (f.path.clone(), f.bytes.clone()))),
            (None, From::Folder(root)) => self.folder.list(root, changed).await?,
            (None, From::Release) => self.released().await?,
        };
        let config = render::config_of(&sources).map_err(Stop::lasting)?;
        Ok((config, sources))
    }

    /// The files of the active release; each is read once while it stays the same.
    async fn released(&mut self) -> Result<Sources, Stop> {
        let files = self.setup.publisher.sources(&self.read).await.map_err(Stop::of)?;
        let Some(files) = files else {
            let error = anyhow::anyhow!("site `{}` has no release to take sources from yet", self.setup.site);
            return Err(Stop::passing(error));
        };
        self.read = files.iter().map(|f| (Digest::of(&f.bytes), f.bytes.clone())).collect();
        Ok(Sources::from_files(files.into_iter().map(|f| (f.path, f.bytes))))
    }

    /// All that a render reads.
    fn input(&self, now: Timestamp, config: &Config, sources: &Sources, data: DataSet) -> renderer::Input {
        let options = Options { base_url: self.setup.base_url.clone(), ..render::options(config) };
        render::input(sources.clone(), config, data, now, options)
    }

    /// Renders into the draft, and records what was rendered from, which is the second.
    async fn render(
        &self,
        draft: &Draft,
        input: &renderer::Input,
        known: Option<&Known>,
        mut recording: Recorded,
        soon: bool,
    ) -> Result<(Summary, Recorded), Stop> {
        let (input, renderer) = (input.clone(), Arc::clone(&self.renderer));
        let sink = DraftSink::new(draft.sink());
        let since = known.filter(|k| k.rules == self.rules).map(|k| k.render);
        let recorded = known.and_then(|k| k.recorded.clone());
        let keeps_sources = recorded.is_some();
        let work = move || {
            let result = match soon {
                true => renderer.render_soon(&input, since, &sink),
                false => renderer.render(&input, since, &sink),
            };
            // A draft that takes no more files knows better why than the renderer does.
            sink.refused()?;
            let summary = render::content(result).map_err(Stop::lasting)?;
            let elsewhere = input.sources.iter().map(|(path, _)| path).filter(|path| !is_published(path));
            recording.files.extend(renderer.asked_for(elsewhere).into_iter().map(str::to_owned));
            hand_over(&sink.sink, &input, &recording, recorded.unwrap_or_default())?;
            Ok((summary, recording))
        };
        let (summary, recording) = blocking(work).await??;
        if summary.handed == Handed::Changes {
            draft.keep_other_files().map_err(Stop::of)?;
        }
        if keeps_sources {
            draft.keep_other_sources().map_err(Stop::of)?;
        }
        metrics::counter!("bakehouse_outputs_rendered_total").increment(summary.rendered as u64);
        metrics::counter!("bakehouse_code_blocks_highlighted_total").increment(summary.highlighted as u64);
        let Summary { rendered, outputs, highlighted, .. } = summary;
        tracing::info!(rendered, outputs, highlighted, "rendered");
        Ok((summary, recording))
    }
}

/// What is recorded of a release.
fn about(request: &PublishRequest, config: &Config, summary: &Summary, now: Timestamp) -> About {
    About {
        created: now,
        author: request.author.clone().unwrap_or_else(author),
        message: request.message.clone().unwrap_or_default(),
        hosts: config.hosts.clone(),
        pages: (summary.pages + summary.sections) as u64,
        renderer: format!("bake {}", env!("CARGO_PKG_VERSION")),
        next_change: summary.next_change,
    }
}
