//! Files by path, in pieces: two states of a folder share those in which nothing differs, so that what a save costs
//! follows what was saved.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use super::SourceFile;

/// Files of a piece when it is made. One that has grown to twice as many becomes two.
const PIECE: usize = 64;

type Item = (Arc<str>, Arc<SourceFile>);
type Piece = Arc<[Item]>;

/// Files in order of their paths. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    /// In order, and none is empty.
    pieces: Arc<[Piece]>,
    count: usize,
}

/// A path, and its file before and now.
pub(super) type Change<'a> = (&'a Arc<str>, Option<&'a Arc<SourceFile>>, Option<&'a Arc<SourceFile>>);

impl Files {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    /// Those with this path or a later one.
    pub(super) fn since(&self, path: &str) -> impl Iterator<Item = &Item> {
        let pieces = &self.pieces[self.piece_of(path)..];
        pieces.iter().flat_map(|piece| piece.iter()).skip_while(move |(known, _)| **known < *path)
    }

    pub(super) fn get(&self, path: &str) -> Option<&Item> {
        let piece = self.pieces.get(self.piece_of(path))?;
        let place = piece.binary_search_by(|(known, _)| (**known).cmp(path)).ok()?;
        piece.get(place)
    }

    /// Where the piece is that has this path, if any does.
    fn piece_of(&self, path: &str) -> usize {
        self.pieces.partition_point(|piece| piece.last().is_none_or(|(last, _)| **last < *path))
    }

    /// The same with other files at some paths, or none.
    pub(super) fn with(&self, changes: BTreeMap<Arc<str>, Option<Arc<SourceFile>>>) -> Self {
        let mut pieces = Vec::with_capacity(self.pieces.len() + 1);
        let mut count = self.count;
        let mut changes = changes.into_iter().peekable();
        let (mut begun, all) = (0, self.pieces.len());
        while let Some((path, _)) = changes.peek() {
            // What comes after all others goes to the last piece.
            let place = self.piece_of(path).min(all.saturating_sub(1));
            pieces.extend_from_slice(&self.pieces[begun..place]);
            let (piece, is_last) = (self.pieces.get(place), place + 1 >= all);
            let known = piece.map_or(&[][..], |piece| piece);
            let end = known.last().filter(|_| !is_last).map(|(last, _)| last);
            let items = merged(known, &mut changes, |path| end.is_none_or(|end| path <= end));
            count = count + items.len() - known.len();
            let size = if items.len() < 2 * PIECE { 2 * PIECE } else { PIECE };
            pieces.extend(items.chunks(size).map(Piece::from));
            begun = (place + 1).min(all);
        }
        pieces.extend_from_slice(&self.pieces[begun..]);
        Self { pieces: pieces.into(), count }
    }

    /// What differs from `before`, in order of paths.
    pub(super) fn changes_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = Change<'a>> {
        let (mut before, mut now) = (Walk::of(before), Walk::of(self));
        std::iter::from_fn(move || {
            loop {
                while let (Some(was), Some(is)) = (before.piece(), now.piece())
                    && Arc::ptr_eq(was, is)
                {
                    before.pass();
                    now.pass();
                }
                let (was, is) = match (before.item(), now.item()) {
                    (None, None) => return None,
                    // Most are the very ones, whose paths need not be read.
                    (Some((known, was)), Some((path, is))) => {
                        let order = if Arc::ptr_eq(known, path) {
                            std::cmp::Ordering::Equal
                        } else {
                            known.cmp(path)
                        };
                        (order.is_le().then_some((known, was)), order.is_ge().then_some((path, is)))
                    }
                    (was, is) => (was.map(|(path, was)| (path, was)), is.map(|(path, is)| (path, is))),
                };
                was.is_some().then(|| before.step());
                is.is_some().then(|| now.step());
                match (was, is) {
                    (Some((_, was)), Some((_, is))) if Arc::ptr_eq(was, is) => {}
                    (was, is) => {
                        let path = is.or(was)?.0;
                        return Some((path, was.map(|(_, file)| file), is.map(|(_, file)| file)));
                    }
                }
            }
        })
    }
}

impl FromIterator<Item> for Files {
    fn from_iter<T: IntoIterator<Item = Item>>(items: T) -> Self {
        BTreeMap::from_iter(items).into()
    }
}

impl From<BTreeMap<Arc<str>, Arc<SourceFile>>> for Files {
    fn from(files: BTreeMap<Arc<str>, Arc<SourceFile>>) -> Self {
        let count = files.len();
        let mut files = files.into_iter();
        let piece = || Some(Piece::from_iter(files.by_ref().take(PIECE))).filter(|piece| !piece.is_empty());
        Self { pieces: std::iter::from_fn(piece).collect(), count }
    }
}

/// The files of a piece with those of the changes that belong to it.
fn merged(
    known: &[Item],
    changes: &mut Peekable<impl Iterator<Item = (Arc<str>, Option<Arc<SourceFile>>)>>,
    belongs: impl Fn(&Arc<str>) -> bool,
) -> Vec<Item> {
    let mut items = Vec::with_capacity(known.len() + 1);
    let mut known = known.iter().peekable();
    while let Some((path, file)) = changes.next_if(|(path, _)| belongs(path)) {
        while let Some(item) = known.next_if(|(known, _)| *known < path) {
            items.push(item.clone());
        }
        known.next_if(|(known, _)| *known == path);
        items.extend(file.map(|file| (path, file)));
    }
    items.extend(known.cloned());
    items
}

/// A way through all files, piece by piece.
struct Walk<'a> {
    pieces: &'a [Piece],
    /// How many of the first piece are behind.
    passed: usize,
}

impl<'a> Walk<'a> {
    fn of(files: &'a Files) -> Self {
        Self { pieces: &files.pieces, passed: 0 }
    }

    /// The piece that begins here.
    fn piece(&self) -> Option<&'a Piece> {
        self.pieces.first().filter(|_| self.passed == 0)
    }

    fn item(&self) -> Option<&'a Item> {
        self.pieces.first()?.get(self.passed)
    }

    /// Goes past a file.
    fn step(&mut self) {
        self.passed += 1;
        if self.pieces.first().is_some_and(|piece| self.passed == piece.len()) {
            self.pass();
        }
    }

    /// Goes past a piece.
    fn pass(&mut self) {
        (self.pieces, self.passed) = (&self.pieces[1..], 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::super::Place;
    use super::*;

    fn file() -> Arc<SourceFile> {
        Arc::new(SourceFile { place: Place::Memory(Default::default()), digest: OnceLock::new() })
    }

    type Shown = (String, Option<*const SourceFile>, Option<*const SourceFile>);

    fn changes(now: &Files, before: &Files) -> Vec<Shown> {
        let changes = now.changes_since(before);
        changes.map(|(path, was, is)| (path.to_string(), was.map(Arc::as_ptr), is.map(Arc::as_ptr))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn they_are_a_sorted_map(
            first in proptest::collection::btree_set(0..900_u32, 0..700),
            edits in proptest::collection::vec(proptest::collection::btree_map(0..1_000_u32, any::<bool>(), 0..90), 1..6),
            prefix in "[0-9]{0,3}",
        ) {
            let path = |number: u32| -> Arc<str> { format!("{number:03}").into() };
            let first: BTreeMap<_, _> = first.into_iter().map(|number| (path(number), file())).collect();
            let mut states = vec![(Files::from(first.clone()), first)];
            for edit in edits {
                let (files, mut model) = states.last().unwrap().clone();
                let edit: BTreeMap<_, _> =
                    edit.into_iter().map(|(number, there)| (path(number), there.then(file))).collect();
                for (path, file) in &edit {
                    match file {
                        Some(file) => drop(model.insert(path.clone(), file.clone())),
                        None => drop(model.remove(path)),
                    }
                }
                states.push((files.with(edit), model));
            }
            let pointers = |files: &Files| -> Vec<_> {
                files.iter().map(|(path, file)| (path.clone(), Arc::as_ptr(file))).collect()
            };
            for (files, model) in &states {
                let all: Vec<_> = model.iter().map(|(path, file)| (path.clone(), Arc::as_ptr(file))).collect();
                prop_assert_eq!(pointers(files), all);
                prop_assert_eq!(files.len(), model.len());
                prop_assert!(files.pieces.iter().all(|piece| (1..2 * PIECE).contains(&piece.len())));
                for number in 0..1_000 {
                    let path = path(number);
                    let found = files.get(&path).map(|(_, file)| Arc::as_ptr(file));
                    prop_assert_eq!(found, model.get(&path).map(Arc::as_ptr));
                }
                let later = model.range(Arc::<str>::from(&*prefix)..).map(|(path, _)| path);
                prop_assert!(files.since(&prefix).map(|(path, _)| path).eq(later));
                for (before, was) in &states {
                    let paths: std::collections::BTreeSet<_> = model.keys().chain(was.keys()).collect();
                    let expected: Vec<Shown> = paths
                        .into_iter()
                        .map(|path| (path.to_string(), was.get(path).map(Arc::as_ptr), model.get(path).map(Arc::as_ptr)))
                        .filter(|(_, was, is)| was != is)
                        .collect();
                    prop_assert_eq!(changes(files, before), expected);
                }
            }
        }
    }

    #[test]
    fn a_change_costs_one_piece() {
        let path = |number: u32| -> Arc<str> { format!("{number:05}").into() };
        let before: Files = (0..10_000).map(|number| (path(number), file())).collect();
        let after = before.with([(path(5_000), Some(file()))].into());
        let new = after.pieces.iter().zip(&*before.pieces).filter(|(now, was)| !Arc::ptr_eq(now, was));
        assert_eq!(new.count(), 1);
    }
}
