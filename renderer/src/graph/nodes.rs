//! Everything that was read, each once: a number for each, and the value that it had.
//!
//! There are several for each page, so they are kept small: a table of numbers finds them, not a second copy of each.

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rayon::prelude::*;

use super::Value;
use crate::kept;
use crate::memo::Whole;
use crate::reads::Node;

/// A node, and what is known of it.
pub(super) struct Slot {
    pub(super) node: Node,
    /// In two halves, which need no alignment of 16 bytes.
    value: [u64; 2],
    is_known: bool,
    pub(super) changed: bool,
    /// What its value hangs on, in short ([`kept::tag`]).
    pub(super) tag: u16,
    /// How often it is held.
    uses: u32,
}

impl Slot {
    fn new(node: Node, uses: u32) -> Self {
        Self { tag: kept::tag(&node), node, value: [0; 2], is_known: false, changed: false, uses }
    }

    /// None where it is not known yet, or cannot be.
    pub(super) fn value(&self) -> Option<Value> {
        let [high, low] = self.value;
        self.is_known.then_some(Value::from(high) << 64 | Value::from(low))
    }

    /// How often it is held.
    pub(super) fn uses(&self) -> u32 {
        self.uses
    }

    pub(super) fn set_value(&mut self, value: Option<Value>) {
        self.is_known = value.is_some();
        let value = value.unwrap_or_default();
        self.value = [(value >> 64) as u64, value as u64];
    }
}

/// All nodes that something holds.
#[derive(Default)]
pub(super) struct Nodes {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Nodes {
    /// One more than the largest number.
    pub(super) fn end(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Slot> {
        self.slots.get(id as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Slot> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// Whether something holds a node.
    pub(super) fn has(&self, node: &Node) -> bool {
        let is_it = |id: &u32| self.slots[*id as usize].as_ref().is_some_and(|slot| slot.node == *node);
        self.index.find(self.hasher.hash_one(node), is_it).is_some()
    }

    /// None counts as different any more.
    pub(super) fn forget_changes(&mut self) {
        self.slots.iter_mut().flatten().for_each(|slot| slot.changed = false);
    }

    /// All, with their numbers, in the order of these.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> + Clone {
        self.slots.iter().enumerate().filter_map(|(id, slot)| Some((id as u32, slot.as_ref()?)))
    }

    /// All, side by side.
    pub(super) fn par_iter_mut(&mut self) -> impl ParallelIterator<Item = &mut Slot> {
        self.slots.par_iter_mut().flatten()
    }

    /// The number of a node, which is held until it is given back, and whether it is new.
    pub(super) fn hold(&mut self, node: &Node) -> (u32, bool) {
        let hash = self.hasher.hash_one(node);
        let slots = &mut self.slots;
        let is_it = |id: &u32| slots[*id as usize].as_ref().is_some_and(|slot| slot.node == *node);
        if let Some(known) = self.index.find(hash, is_it).copied() {
            if let Some(slot) = &mut slots[known as usize] {
                slot.uses += 1;
            }
            return (known, false);
        }
        let slot = Slot::new(node.clone(), 1);
        let id = match self.free.pop() {
            Some(id) => {
                slots[id as usize] = Some(slot);
                id
            }
            None => {
                if slots.len() == slots.capacity() {
                    // By an eighth, not by as much again: they are most of what a graph occupies.
                    slots.reserve_exact((slots.len() / 8).max(64));
                }
                slots.push(Some(slot));
                (slots.len() - 1) as u32
            }
        };
        self.index.insert_unique(hash, id, |id| hash_of(slots, &self.hasher, *id));
        (id, true)
    }

    /// Gives a node back.
    pub(super) fn release(&mut self, id: u32) {
        let place = &mut self.slots[id as usize];
        let Some(slot) = place else { return };
        slot.uses -= 1;
        if slot.uses == 0 {
            if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(&slot.node), |other| *other == id) {
                entry.remove();
            }
            *place = None;
            self.free.push(id);
        }
    }

    /// Nodes as they were kept, by number, each held `uses` times; none where one is there twice, or is held and not there.
    pub(super) fn restore(kept: Vec<Option<(Node, Option<Whole<16>>)>>, uses: &[u32]) -> Option<Self> {
        let slots = Vec::with_capacity(kept.len());
        let index = HashTable::with_capacity(kept.len());
        let mut nodes = Self { slots, index, ..Self::default() };
        for (id, (known, uses)) in kept.into_iter().zip(uses).enumerate() {
            if *uses == 0 {
                nodes.free.push(id as u32);
                nodes.slots.push(None);
                continue;
            }
            let (node, value) = known?;
            let slots = &nodes.slots;
            let is_it =
                |other: &u32| slots[*other as usize].as_ref().is_some_and(|slot: &Slot| slot.node == node);
            let rehash = |id: &u32| hash_of(slots, &nodes.hasher, *id);
            match nodes.index.entry(nodes.hasher.hash_one(&node), is_it, rehash) {
                Entry::Occupied(_) => return None,
                Entry::Vacant(vacant) => drop(vacant.insert(id as u32)),
            }
            let mut slot = Slot::new(node, *uses);
            slot.set_value(value.map(|Whole(bytes)| Value::from_le_bytes(bytes)));
            nodes.slots.push(Some(slot));
        }
        Some(nodes)
    }
}

fn hash_of(slots: &[Option<Slot>], hasher: &RandomState, id: u32) -> u64 {
    slots[id as usize].as_ref().map_or(0, |slot| hasher.hash_one(&slot.node))
}
