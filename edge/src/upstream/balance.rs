//! Which upstream is asked first, and which next: pure, so that a table can hold it.

use std::{fmt, str::FromStr};

/// How requests are spread over upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// By turns.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastConnections,
    /// By the URL: each has its own upstream while that is up, and when one goes only its URLs move.
    Hash,
    /// Of two picked at random, the one with fewer requests under way: as even as `LeastConnections`, and several edges
    /// that know nothing of each other do not all pick the same.
    RandomTwo,
    /// The first that is up, in the order given: the others are spares.
    First,
}

impl Balance {
    /// All names, as they are typed.
    pub const NAMES: [&str; 5] = ["round-robin", "least-connections", "hash", "random-two", "first"];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::Hash => "hash",
            Self::RandomTwo => "random-two",
            Self::First => "first",
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Balance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "round-robin" => Ok(Self::RoundRobin),
            "least-connections" => Ok(Self::LeastConnections),
            "hash" => Ok(Self::Hash),
            "random-two" => Ok(Self::RandomTwo),
            "first" => Ok(Self::First),
            _ => Err(format!("`{text}` is none of {}", Self::NAMES.join(", "))),
        }
    }
}

/// Parts of a whole share: a fraction without floating point.
pub(super) const SHARE_WHOLE: u32 = 1_024;

/// An upstream as balancing sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Whether it may be asked before those that are in trouble.
    pub(super) usable: bool,
    /// Requests under way.
    pub(super) in_flight: usize,
    /// How much of its full part it takes, in [`SHARE_WHOLE`]ths: less while it starts slowly. Never 0.
    pub(super) share: u32,
    /// A number that is its own and stays the same over restarts.
    pub(super) identity: u64,
}

/// What the choice of one request rests on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    /// Counts requests.
    pub(super) turn: usize,
    /// Random bits.
    pub(super) random: u64,
    /// Of the URL.
    pub(super) hash: u64,
}

/// The order in which to try: a permutation of the indexes of `candidates`, those in trouble last.
pub(super) fn order(balance: Balance, candidates: &[Candidate], draw: Draw) -> Vec<usize> {
    let (mut order, mut in_trouble): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|index| candidates[*index].usable);
    let usable = order.len();
    // The turns are of those that are up: counted among all, whoever follows one in trouble would have its turns, too.
    for part in [&mut order, &mut in_trouble] {
        let turn = draw.turn.checked_rem(part.len()).unwrap_or(0);
        part.rotate_left(turn);
    }
    order.append(&mut in_trouble);
    let load = |index: &usize| {
        let candidate = &candidates[*index];
        // One more, as if this request were there already: an idle one that starts slowly weighs more than
        // another idle one.
        (candidate.in_flight as u64 + 1) * u64::from(SHARE_WHOLE) / u64::from(candidate.share.max(1))
    };
    match balance {
        // Who is asked after the first is by chance: else the neighbour of one that answers with errors would have its part, too.
        Balance::RoundRobin => {
            if let Some(others) = order.get_mut(1..usable).filter(|others| !others.is_empty()) {
                let turns = usize::try_from(draw.random % others.len() as u64).unwrap_or(0);
                others.rotate_left(turns);
            }
        }
        Balance::LeastConnections => order.sort_by_key(load),
        Balance::Hash => {
            order.sort_by_key(|index| std::cmp::Reverse(mix(draw.hash ^ candidates[*index].identity)));
        }
        Balance::RandomTwo => {
            if usable > 1 {
                let (first, second) = pair(usable, draw.random);
                let (first, second) = (order[first], order[second]);
                let (best, other) =
                    if load(&second) < load(&first) { (second, first) } else { (first, second) };
                order.retain(|index| *index != best && *index != other);
                order.splice(0..0, [best, other]);
            }
        }
        Balance::First => order.sort_unstable(),
    }
    order.sort_by_key(|index| !candidates[*index].usable);
    // Where the load is not looked at, one that starts slowly gives up its turn as often as its share says: of those by turns to
    // any other, rarely to one that starts slowly as well, and else to the next.
    let looks_at_load = matches!(balance, Balance::LeastConnections | Balance::RandomTwo);
    let gives_up = || (draw.random >> 32) as u32 % SHARE_WHOLE >= candidates[order[0]].share;
    if !looks_at_load && usable > 1 && gives_up() {
        let chance = |place: &usize| {
            let other = &candidates[order[*place]];
            (mix(draw.random ^ other.identity) >> 32) * u64::from(other.share)
        };
        let stand_in = if balance == Balance::RoundRobin { (1..usable).max_by_key(chance) } else { Some(1) };
        order.swap(0, stand_in.unwrap_or(0));
    }
    order
}

/// Two different indexes below `count`, which is at least 2.
fn pair(count: usize, random: u64) -> (usize, usize) {
    let part = |bits: u64, below: usize| usize::try_from(bits % below as u64).unwrap_or(0);
    let first = part(random & 0xFFFF_FFFF, count);
    let second = part(random >> 32, count - 1);
    (first, if second >= first { second + 1 } else { second })
}

/// Spreads the bits of a number (the finaliser of splitmix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(in_flight: &[usize]) -> Vec<Candidate> {
        (1u64..)
            .zip(in_flight)
            .map(|(identity, in_flight)| Candidate {
                usable: true,
                in_flight: *in_flight,
                share: SHARE_WHOLE,
                identity,
            })
            .collect()
    }

    fn draw(turn: usize) -> Draw {
        Draw { turn, random: mix(turn as u64), hash: mix(turn as u64 + 7) }
    }

    fn firsts(balance: Balance, candidates: &[Candidate], count: usize) -> Vec<usize> {
        let mut counts = vec![0; candidates.len()];
        for turn in 0..count {
            counts[order(balance, candidates, draw(turn))[0]] += 1;
        }
        counts
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in Balance::NAMES {
            assert_eq!(name.parse::<Balance>().unwrap().as_str(), name);
        }
        assert!("Round-Robin".parse::<Balance>().is_err());
    }

    #[test]
    fn the_part_of_one_that_fails_goes_to_all_others() {
        let mut counts = [0; 4];
        for turn in 0..4_000 {
            counts[order(Balance::RoundRobin, &all(&[0; 4]), draw(turn * 4))[1]] += 1;
        }
        assert_eq!(counts[0], 0, "it is the one that fails");
        assert!(counts[1..].iter().all(|count| (1_200..1_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn each_gets_its_part() {
        let three = all(&[0, 0, 0]);
        assert_eq!(firsts(Balance::RoundRobin, &three, 300), [100, 100, 100]);
        for balance in [Balance::Hash, Balance::RandomTwo] {
            for count in firsts(balance, &three, 3_000) {
                assert!((800..1_200).contains(&count), "{balance}: {count}");
            }
        }
        assert_eq!(firsts(Balance::First, &three, 30), [30, 0, 0]);
        assert_eq!(firsts(Balance::LeastConnections, &all(&[3, 1, 2]), 30), [0, 30, 0]);
        // The most loaded of three is never the better of two.
        assert_eq!(firsts(Balance::RandomTwo, &all(&[0, 9, 0]), 300)[1], 0);
    }

    #[test]
    fn those_in_trouble_come_last() {
        let mut three = all(&[0, 0, 0]);
        three[0].usable = false;
        for balance in Balance::NAMES {
            for turn in 0..50 {
                let order = order(balance.parse().unwrap(), &three, draw(turn));
                assert_eq!((order.len(), order[2]), (3, 0), "{balance}");
            }
        }
    }

    #[test]
    fn what_one_in_trouble_leaves_is_spread_over_all_others() {
        let mut four = all(&[0, 0, 0, 0]);
        four[1].usable = false;
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            assert_eq!(firsts(balance, &four, 300), [100, 0, 100, 100], "{balance}");
        }
        // And so is what those leave that start slowly: two have a sixteenth of their thousand each.
        let mut four = all(&[0, 0, 0, 0]);
        (four[1].share, four[2].share) = (SHARE_WHOLE / 16, SHARE_WHOLE / 16);
        let counts = firsts(Balance::RoundRobin, &four, 4_000);
        for (index, expected) in [(0, 1_800..2_050), (1, 40..130), (2, 40..130), (3, 1_800..2_050)] {
            assert!(expected.contains(&counts[index]), "{counts:?}");
        }
    }

    #[test]
    fn a_hash_moves_only_the_urls_of_the_one_that_is_gone() {
        let mut four = all(&[0, 0, 0, 0]);
        let before: Vec<usize> = (0..500).map(|t| order(Balance::Hash, &four, draw(t))[0]).collect();
        four[2].usable = false;
        for (turn, was) in before.iter().enumerate() {
            let now = order(Balance::Hash, &four, draw(turn))[0];
            assert!(if *was == 2 { now != 2 } else { now == *was });
        }
    }

    #[test]
    fn a_slow_start_takes_its_share() {
        let mut two = all(&[0, 0]);
        two[0].share = SHARE_WHOLE / 4;
        for (balance, part) in
            [(Balance::RoundRobin, 350..650), (Balance::Hash, 350..650), (Balance::First, 850..1_150)]
        {
            let count = firsts(balance, &two, 4_000)[0];
            assert!(part.contains(&count), "{balance}: a quarter of its part of 4,000, not {count}");
        }
        assert_eq!(firsts(Balance::LeastConnections, &two, 10), [0, 10]);
        // Alone it gets everything.
        assert_eq!(firsts(Balance::RoundRobin, &two[..1], 10), [10]);
    }

    proptest! {
        #[test]
        fn an_order_names_everyone_once(
            name in 0usize..5,
            flags in proptest::collection::vec((any::<bool>(), 0usize..9, 1u32..=SHARE_WHOLE), 0..9),
            turn: usize, random: u64, hash: u64,
        ) {
            let candidates: Vec<Candidate> = (0u64..).zip(flags).map(|(identity, (usable, in_flight, share))| {
                Candidate { usable, in_flight, share, identity }
            }).collect();
            let balance: Balance = Balance::NAMES[name].parse().unwrap();
            let order = order(balance, &candidates, Draw { turn, random, hash });
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..candidates.len()).collect::<Vec<_>>());
            let first_down = order.iter().position(|i| !candidates[*i].usable).unwrap_or(order.len());
            prop_assert!(order[first_down..].iter().all(|i| !candidates[*i].usable));
        }
    }
}
