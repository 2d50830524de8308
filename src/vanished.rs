//! Addresses that a publish would make vanish, and the alias that each of them lacks.

use std::collections::BTreeSet;

use origin::publish::{Draft, Publisher, Vanished};
use renderer::Sources;
use renderer::identity::{self, Identity};
use serde::Serialize;

use crate::config::{self, Config};
use crate::failure::HintExt;

/// Vanished addresses that are named; more are counted.
const NAMED_MAX: usize = 20;
/// Sources of each release that are read to recognise a page.
const SOURCES_MAX: usize = 500;

/// An address that leads to nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// The address within the site.
    pub url: String,
    /// The file that the page has moved to, where it can be recognised.
    pub moved_to: Option<String>,
}

impl Gone {
    /// The line for the page's front matter.
    fn alias(&self) -> String {
        format!("aliases = [\"{}\"]", self.url.trim_matches('/'))
    }

    fn hint(&self) -> String {
        match &self.moved_to {
            Some(file) => format!("if the page is {file} now, write {} there", self.alias()),
            None => format!("where a page takes its place, write {} there", self.alias()),
        }
    }

    /// What is said where it is published all the same.
    pub fn warning(&self) -> String {
        format!("warning: {} leads to nothing any more\nhint: {}", self.url, self.hint())
    }
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The first, in order.
    pub gone: Vec<Gone>,
    /// How many more there are.
    pub more: usize,
}

impl Loss {
    /// What is said where they are published all the same.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let more = format!("warning: {} more addresses lead to nothing any more", self.more);
        self.gone.iter().map(Gone::warning).chain((self.more > 0).then_some(more))
    }
}

/// The addresses of the last release that this one lacks. Only what differs between the two is looked at.
///
/// # Errors
/// What the bucket says.
pub async fn look(
    draft: &mut Draft,
    publisher: &Publisher,
    config: &Config,
    sources: &Sources,
) -> Result<Loss, origin::Error> {
    if config.publish.vanished == config::Vanished::Allow {
        return Ok(Loss::default());
    }
    let vanished = draft.vanished().await?;
    if vanished.pages.is_empty() {
        return Ok(Loss::default());
    }
    let (before, after) = known(publisher, sources, &vanished).await?;
    let named = vanished.pages.iter().take(NAMED_MAX).map(|page| {
        let url = url_of(page);
        let moved_to = identity::moved(&url, &before, &after).map(|now| now.source.clone());
        Gone { url, moved_to }
    });
    Ok(Loss { gone: named.collect(), more: vanished.pages.len().saturating_sub(NAMED_MAX) })
}

/// Fails where an address would vanish.
pub fn refuse(loss: &Loss) -> anyhow::Result<()> {
    if loss.gone.is_empty() {
        return Ok(());
    }
    let lines = loss.gone.iter().map(|gone| format!("{} would lead to nothing: {}", gone.url, gone.hint()));
    let more = (loss.more > 0).then(|| format!("{} more addresses would", loss.more));
    let lines: Vec<String> = lines.chain(more).collect();
    Err(anyhow::anyhow!(lines.join("\n")))
        .hint(|| "to publish all the same, set `vanished = \"warn\"` in [publish] of bakehouse.toml".into())
}

/// What is known of the pages that changed: as they were, and as they are where their addresses are new.
async fn known(
    publisher: &Publisher,
    sources: &Sources,
    vanished: &Vanished,
) -> Result<(Vec<Identity>, Vec<Identity>), origin::Error> {
    let content = |paths: &[String]| -> Vec<String> {
        let is_content = |path: &&String| path.starts_with("content/") && path.ends_with(".md");
        let configs = ["zola.toml", "config.toml"].map(str::to_owned);
        configs.into_iter().chain(paths.iter().filter(is_content).take(SOURCES_MAX).cloned()).collect()
    };
    let files = publisher.sources_at(&content(&vanished.old_sources)).await?;
    let before = Sources::from_files(files.into_iter().map(|file| (file.path, file.bytes)));
    let added: BTreeSet<String> = vanished.added.iter().map(|page| url_of(page)).collect();
    let new = content(&vanished.new_sources).into_iter();
    let after = Sources::from_files(new.filter_map(|path| {
        let bytes = sources.get(&path)?.read().ok()?;
        Some((path, bytes))
    }));
    let identify = move || {
        let mut after = identity::identities(&after);
        after.retain(|page| added.contains(&page.path));
        (identity::identities(&before), after)
    };
    Ok(tokio::task::spawn_blocking(identify).await.unwrap_or_default())
}

/// `/blog/first/` for `blog/first/index.html`.
fn url_of(page: &str) -> String {
    let folder = page.strip_suffix("index.html").filter(|folder| folder.is_empty() || folder.ends_with('/'));
    format!("/{}", folder.unwrap_or(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_pages() {
        assert_eq!(url_of("index.html"), "/");
        assert_eq!(url_of("a/b/index.html"), "/a/b/");
        assert_eq!(url_of("old.html"), "/old.html");
        let gone = Gone { url: "/a/b/".into(), moved_to: Some("content/c.md".into()) };
        assert!(gone.warning().contains("aliases = [\"a/b\"]") && gone.warning().contains("content/c.md"));
        let loss = Loss { gone: vec![gone], more: 2 };
        assert_eq!(loss.warnings().count(), 2);
        assert!(refuse(&Loss::default()).is_ok());
        let refused = format!("{:#}", refuse(&loss).unwrap_err());
        assert!(refused.contains("/a/b/ would lead to nothing") && refused.contains("2 more"), "{refused}");
    }
}
