//! How many requests are looked at, and which were seen before. Pure: the time is passed in.

// From `core`, which has addresses and no sockets.
use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::vendor::Vendor;

/// Requests that are looked at within a second, from everybody: more than a busy forge sends, and less than a core can check.
const ALL_PER_SECOND: f64 = 200.0;
/// The same from one address. Behind an ingress everybody has the ingress's.
const EACH_PER_SECOND: f64 = 50.0;
/// How many seconds' worth may come at once.
const BURST_SECONDS: f64 = 2.0;
/// What a request costs that was not proved, in requests.
const PRICE_OF_REFUSAL: f64 = 10.0;
/// Addresses that are counted by themselves; what comes from others is counted together.
const MOST_ADDRESSES: usize = 1_024;
/// How long a delivery is remembered.
const REPLAY_WINDOW: Duration = Duration::from_mins(10);
/// Deliveries that are remembered.
const MOST_DELIVERIES: usize = 4_096;
/// Longest name of a delivery that is remembered whole.
const LONGEST_DELIVERY: usize = 128;

/// Fills by a rate, up to a burst.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    rate: f64,
    filled: Instant,
}

impl Bucket {
    fn full(rate: f64, now: Instant) -> Self {
        Self { tokens: rate * BURST_SECONDS, rate, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = passed.mul_add(self.rate, self.tokens).min(self.rate * BURST_SECONDS);
        self.filled = now;
    }

    fn is_full(&self) -> bool {
        self.tokens >= self.rate * BURST_SECONDS
    }
}

/// What may be looked at.
#[derive(Debug)]
pub struct Limits {
    all: Bucket,
    each: BTreeMap<IpAddr, Bucket>,
    others: Bucket,
}

impl Limits {
    /// Nothing has come yet.
    pub fn new(now: Instant) -> Self {
        Self {
            all: Bucket::full(ALL_PER_SECOND, now),
            each: BTreeMap::new(),
            others: Bucket::full(EACH_PER_SECOND, now),
        }
    }

    /// Whether a request from an address is looked at; it counts then.
    pub fn admit(&mut self, from: IpAddr, now: Instant) -> bool {
        self.all.fill(now);
        if self.all.tokens < 1.0 {
            return false;
        }
        // An address that is over its share takes nothing from the share of all.
        let own = self.bucket(from, now);
        let admitted = own.tokens >= 1.0;
        if admitted {
            own.tokens -= 1.0;
            self.all.tokens -= 1.0;
        }
        admitted
    }

    /// A request that was looked at was not proved: its address pays more. Others don't pay for it.
    pub fn refused(&mut self, from: IpAddr, now: Instant) {
        let own = self.bucket(from, now);
        own.tokens = (own.tokens - (PRICE_OF_REFUSAL - 1.0)).max(-PRICE_OF_REFUSAL);
    }

    fn bucket(&mut self, from: IpAddr, now: Instant) -> &mut Bucket {
        let from = network(from);
        if self.each.len() >= MOST_ADDRESSES && !self.each.contains_key(&from) {
            self.each.retain(|_, bucket| {
                bucket.fill(now);
                !bucket.is_full()
            });
        }
        let bucket = if self.each.len() < MOST_ADDRESSES || self.each.contains_key(&from) {
            self.each.entry(from).or_insert_with(|| Bucket::full(EACH_PER_SECOND, now))
        } else {
            &mut self.others
        };
        bucket.fill(now);
        bucket
    }
}

/// An address as far as one sender can't choose it: of IPv6 the network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Deliveries that were taken a while ago.
#[derive(Debug, Default)]
pub struct Deliveries {
    seen: BTreeSet<(Vendor, String)>,
    order: VecDeque<(Instant, (Vendor, String))>,
}

impl Deliveries {
    /// Takes note of a delivery that was proved. False when it was there before, and nothing is to be done for it.
    pub fn is_new(&mut self, vendor: Vendor, id: &str, now: Instant) -> bool {
        while let Some((since, _)) = self.order.front()
            && (now.saturating_duration_since(*since) >= REPLAY_WINDOW || self.order.len() >= MOST_DELIVERIES)
        {
            if let Some((_, old)) = self.order.pop_front() {
                self.seen.remove(&old);
            }
        }
        let key = (vendor, id.chars().take(LONGEST_DELIVERY).collect::<String>());
        let new = self.seen.insert(key.clone());
        if new {
            self.order.push_back((now, key));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn address(index: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(index))
    }

    #[test]
    fn one_address_has_a_burst_and_then_a_rate_and_takes_nothing_from_others() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let admitted = (0..1000).filter(|_| limits.admit(A, start)).count();
        assert_eq!(admitted, 100);
        assert!(limits.admit(address(7), start));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| limits.admit(A, later)).count(), 50);
    }

    #[test]
    fn who_proves_nothing_is_soon_not_looked_at_any_more() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let mut looked_at = 0;
        while limits.admit(A, start) {
            limits.refused(A, start);
            looked_at += 1;
        }
        assert_eq!(looked_at, 10);
        assert!(limits.admit(address(7), start), "others are looked at");
    }

    #[test]
    fn many_addresses_share_what_is_looked_at_in_all_and_cost_little_memory() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let admitted = (0..100_000).filter(|index| limits.admit(address(*index), start)).count();
        assert_eq!(admitted, 400);
        assert!(limits.each.len() <= MOST_ADDRESSES);
        for second in 1..20 {
            let now = start + Duration::from_secs(second.into());
            let admitted = (0..200).filter(|index| limits.admit(address(second * 1000 + index), now)).count();
            assert_eq!(admitted, 200, "who has been quiet is forgotten, and makes room");
        }
        assert!(limits.each.len() <= MOST_ADDRESSES);
    }

    #[test]
    fn addresses_of_one_network_are_one_sender() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let from = |index: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | index));
        assert_eq!((0..1000).filter(|index| limits.admit(from(*index), start)).count(), 100);
    }

    #[test]
    fn a_delivery_counts_once_within_ten_minutes() {
        let start = Instant::now();
        let mut deliveries = Deliveries::default();
        assert!(deliveries.is_new(Vendor::GitHub, "a", start));
        assert!(!deliveries.is_new(Vendor::GitHub, "a", start + Duration::from_secs(599)));
        assert!(deliveries.is_new(Vendor::Gitea, "a", start));
        assert!(deliveries.is_new(Vendor::GitHub, "a", start + Duration::from_secs(600)));
        for index in 0..100_000 {
            deliveries.is_new(Vendor::GitHub, &format!("{index}{}", "x".repeat(1000)), start);
        }
        assert!(deliveries.order.len() <= MOST_DELIVERIES && deliveries.seen.len() <= MOST_DELIVERIES);
    }
}
