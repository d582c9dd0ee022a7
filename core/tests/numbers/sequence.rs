use echosphere_core::numbers::{Checksum, Sequence, Uuid};

use crate::fixture::{UUID, checksum};

fn uuid(text: &str) -> Uuid {
    Uuid::try_parse(text).unwrap()
}

/// Computed with another implementation of ChaCha20 (`cryptography` in Python): the example of docs/PROTOCOL.md.
#[test]
fn the_numbers_are_those_of_the_published_cipher() {
    let first: Vec<u32> = Sequence::new(uuid(UUID)).after(0).take(5).collect();
    assert_eq!(first, KNOWN_FIRST);
    assert_eq!(Sequence::new(uuid(UUID)).after(65_534).next(), Some(KNOWN_LAST));
}

const KNOWN_FIRST: [u32; 5] = [884_115_364, 984_080_323, 2_820_519_488, 1_474_247_489, 1_847_739_336];
const KNOWN_LAST: u32 = 2_704_860_225;

#[test]
fn only_the_first_eight_bytes_of_the_uuid_matter() {
    let same = "67e55044-10b1-426f-0000-000000000000";
    let other = "67e55044-10b1-426e-9247-bb680e5fe0c8";
    let first = |text| Sequence::new(uuid(text)).after(0).next();
    assert_eq!(first(UUID), first(same));
    assert_ne!(first(UUID), first(other));
}

#[test]
fn any_number_is_generated_without_those_before_it() {
    let all: Vec<u32> = Sequence::new(uuid(UUID)).after(0).take(300).collect();
    for place in 0..300 {
        let mut sequence = Sequence::new(uuid(UUID));
        assert_eq!(sequence.after(place).next(), Some(all[usize::from(place)]));
        assert_eq!(
            sequence.count_to_latest(all[usize::from(place)].into(), 300),
            Some(place + 1)
        );
        assert_eq!(sequence.count_to_latest(all[usize::from(place)].into(), place), None);
    }
}

#[test]
fn the_latest_place_of_a_number_that_repeats_is_found() {
    let (uuid, number, places) = repeating();
    let mut sequence = Sequence::new(uuid);
    assert_eq!(sequence.count_to_latest(number.into(), u16::MAX), Some(places[1]));
    assert_eq!(sequence.count_to_latest(number.into(), places[1] - 1), Some(places[0]));
    assert_eq!(sequence.count_to_latest(number.into(), places[0] - 1), None);
}

/// A uuid in whose sequence a number occurs twice, the number, and its two positions.
pub(crate) fn repeating() -> (Uuid, u32, [u16; 2]) {
    for high in 0_u64.. {
        let uuid = Uuid::from_u64_pair(high, 0);
        let mut all: Vec<(u32, u16)> = Sequence::new(uuid).after(0).zip(1..=u16::MAX).collect();
        all.sort_unstable();
        if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return (uuid, pair[0].0, [pair[0].1, pair[1].1]);
        }
    }
    unreachable!("two in five uuids have one")
}

#[test]
fn numbers_can_be_added_to_a_checksum_and_removed() {
    let numbers = [u32::MAX, 123_455, 123_456, 1, 0, 7];
    let sums: Vec<Checksum> = numbers
        .iter()
        .scan(Checksum::default(), |sum, number| {
            *sum = sum.plus(*number);
            Some(*sum)
        })
        .collect();
    let all: Vec<u64> = numbers.iter().map(|number| u64::from(*number)).collect();
    for (at, sum) in sums.iter().enumerate() {
        assert_eq!(u64::from(sum.value()), checksum(&all[..=at]));
        let before = at.checked_sub(1).map_or(Checksum::default(), |before| sums[before]);
        assert_eq!(sum.minus(numbers[at]), before);
    }
    assert_eq!(Checksum::from_value(123_455).map(Checksum::value), Some(123_455));
    assert_eq!(Checksum::from_value(123_456), None);
}
