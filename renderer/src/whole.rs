//! Whole numbers of configurations, each with its bounds.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A whole number from `MIN` to `MAX`: what is said of any other names these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole<T, const MIN: u64, const MAX: u64>(T);

impl<T: Copy + TryFrom<u64>, const MIN: u64, const MAX: u64> Whole<T, MIN, MAX> {
    /// The number, if it is within the bounds.
    pub fn new(number: u64) -> Option<Self> {
        T::try_from(number).ok().filter(|_| (MIN..=MAX).contains(&number)).map(Self)
    }

    /// The number.
    pub fn get(self) -> T {
        self.0
    }
}

impl<T: Copy + TryFrom<u64>, const MIN: u64, const MAX: u64> FromStr for Whole<T, MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| format!("a whole number from {MIN} to {MAX} is expected"))
    }
}

impl<'de, T: Copy + TryFrom<u64>, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Reader(PhantomData))
    }
}

struct Reader<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T: Copy + TryFrom<u64>, const MIN: u64, const MAX: u64> Visitor<'_> for Reader<T, MIN, MAX> {
    type Value = Whole<T, MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Whole::new(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_beyond_its_bounds_is_told_what_they_are() {
        type Quality = Whole<u8, 1, 100>;
        let read = |text: &str| {
            let table: toml::Table =
                toml::from_str(&format!("n = {text}")).map_err(|error| error.to_string())?;
            table["n"].clone().try_into::<Quality>().map_err(|error| error.message().to_owned())
        };
        for number in [1, 100] {
            assert_eq!(read(&number.to_string()).map(Quality::get), Ok(number));
            assert_eq!(number.to_string().parse().map(Quality::get), Ok(number));
        }
        for wrong in ["0", "101", "400", "-1", "1.5", "\"1\""] {
            assert!(read(wrong).unwrap_err().ends_with("expected a whole number from 1 to 100"), "{wrong}");
            assert_eq!(wrong.parse::<Quality>().unwrap_err(), "a whole number from 1 to 100 is expected");
        }
    }
}
