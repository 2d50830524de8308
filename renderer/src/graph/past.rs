//! Which outputs there were in renders that someone may ask from, and which of them are gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Outputs that are gone, as long as someone may ask from before they went. When there are more, nobody may.
const GONE_MAX: usize = 100_000;

/// Renders whose outputs a receiver may still have.
const ENDED_MAX: usize = 64;

/// An output that is no more.
struct Gone {
    path: Arc<str>,
    /// The first render that had it, and the first that had it no more.
    from: u64,
    until: u64,
}

/// See the module's words.
#[derive(Default)]
pub(super) struct Past {
    /// All outputs of the last render that ended well, and since which render they are there.
    outputs: HashMap<Arc<str>, u64>,
    gone: Vec<Gone>,
    /// Renders that ended well, since which changes can be told.
    ended: Vec<u64>,
}

impl Past {
    /// One of a single render, with the number 0.
    pub(super) fn of(outputs: impl Iterator<Item = Arc<str>>) -> Self {
        Self { outputs: outputs.map(|path| (path, 0)).collect(), gone: Vec::new(), ended: vec![0] }
    }

    /// Whether it is known what changed since a render.
    pub(super) fn knows(&self, render: u64) -> bool {
        self.ended.contains(&render)
    }

    /// The last render that ended well.
    pub(super) fn last(&self) -> Option<u64> {
        self.ended.last().copied()
    }

    /// How many outputs there are.
    pub(super) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Says that who has the outputs of a render has these as well; those that are none are gone since.
    pub(super) fn add(&mut self, render: u64, paths: &HashSet<&str>) {
        for path in paths.iter().filter(|path| !self.outputs.contains_key(**path)) {
            self.gone.push(Gone { path: Arc::from(*path), from: render, until: render + 1 });
        }
    }

    /// Takes note of all outputs of a render, and so of those that are gone.
    pub(super) fn take<'a>(&mut self, made: impl Iterator<Item = &'a Arc<str>>, render: u64) {
        let mut outputs = HashMap::with_capacity(self.outputs.len());
        for path in made {
            let from = self.outputs.remove(path).unwrap_or(render);
            outputs.insert(path.clone(), from);
        }
        let before = std::mem::replace(&mut self.outputs, outputs);
        self.gone.extend(before.into_iter().map(|(path, from)| Gone { path, from, until: render }));
    }

    /// A render ended well: says which outputs are gone since `since`, in order, before anything of that is forgotten.
    pub(super) fn end(&mut self, render: u64, since: Option<u64>) -> Vec<Arc<str>> {
        let is_told = |gone: &&Gone| {
            since.is_some_and(|since| (gone.from..gone.until).contains(&since))
                && !self.outputs.contains_key(&gone.path)
        };
        let mut told: Vec<Arc<str>> =
            self.gone.iter().filter(is_told).map(|gone| gone.path.clone()).collect();
        told.sort_unstable();
        told.dedup();
        if self.gone.len() > GONE_MAX {
            self.gone.clear();
            self.ended.clear();
        }
        self.ended.push(render);
        if self.ended.len() > ENDED_MAX {
            self.ended.remove(0);
        }
        let oldest = self.ended[0];
        self.gone.retain(|gone| gone.until > oldest);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_last_is_told_of_all_that_is_gone() {
        let paths = [Arc::from("a.html")];
        let mut past = Past::default();
        past.take(paths.iter(), 1);
        past.end(1, None);
        past.take([].iter(), 2);
        for render in 2..=ENDED_MAX as u64 {
            assert_eq!(past.end(render, Some(1)), paths);
        }
        assert!(past.knows(1));
        let last = ENDED_MAX as u64 + 1;
        assert_eq!(past.end(last, Some(1)), paths);
        assert!(!past.knows(1) && past.knows(2) && past.knows(last));
    }

    #[test]
    fn more_than_it_keeps_is_told_at_once() {
        let paths: Vec<Arc<str>> = (0..=GONE_MAX).map(|n| Arc::from(n.to_string())).collect();
        let mut past = Past::of(paths.iter().cloned());
        past.take([].iter(), 1);
        assert_eq!(past.end(1, Some(0)).len(), paths.len());
        assert!(!past.knows(0) && past.knows(1));
    }
}
