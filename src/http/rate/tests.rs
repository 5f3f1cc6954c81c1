use super::*;

fn limit(rate: &str) -> Limit {
    Limit::new("address", Rate::parse(rate).unwrap(), false, Refusal::AddressRate)
}

fn address(text: &str) -> Subject {
    Subject::of_address(text.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_let_through_and_comes_back_at_the_rate() {
    let limit = limit("2/s burst 3");
    let one = NonZeroU32::MIN;
    let who = address("192.0.2.1");
    for left in [2, 1, 0] {
        assert_eq!(limit.charge(&who, one).unwrap().left, left);
    }
    let wait = limit.charge(&who, one).unwrap_err();
    assert_eq!(seconds(wait), 1);
    assert!(limit.charge(&address("192.0.2.2"), one).is_ok(), "everybody has a count of their own");
    tokio::time::advance(wait).await;
    assert!(limit.charge(&who, one).is_ok());
    assert!(limit.charge(&who, one).is_err());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(limit.charge(&who, one).unwrap().left, 2);
}

#[tokio::test(start_paused = true)]
async fn what_costs_more_than_the_burst_takes_all_of_it() {
    let limit = limit("1/s burst 5");
    let who = address("192.0.2.1");
    assert_eq!(limit.charge(&who, NonZeroU32::new(100).unwrap()).unwrap().left, 0);
    assert!(limit.charge(&who, NonZeroU32::MIN).is_err());
}

#[test]
fn one_client_of_ipv6_is_one_network() {
    assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
    assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
    // An address of IPv4 is no network of IPv6 that has the same bits.
    assert_ne!(address("0.0.0.1"), address("0:0:0:1::"));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_addresses_takes_no_more_memory() {
    let mut limit = limit("1/s");
    limit.max_keys = 100;
    for number in 0..10_000_u32 {
        let _ = limit.charge(&Subject::of_address(IpAddr::V4(number.into())), NonZeroU32::MIN);
    }
    let most = 200 + SHARED as usize;
    assert!(limit.counts.len() <= most, "{} keys", limit.counts.len());
    // Who comes back after a while finds the crowd gone.
    tokio::time::advance(Duration::from_secs(60)).await;
    limit.shed_idle();
    assert_eq!(limit.counts.len(), 0);
    assert!(limit.charge(&address("192.0.2.1"), NonZeroU32::MIN).is_ok());
    assert!(limit.counts.check_key(&address("192.0.2.1")).is_err(), "on a count of its own");
}

#[tokio::test(start_paused = true)]
async fn a_flood_from_one_site_is_one_site() {
    let mut limit = limit("1/s");
    limit.max_keys = 100;
    for number in 0..10_000_u128 {
        let network = (0x2001_0db8_0001_u128 << 80) | (number << 64);
        let _ = limit.charge(&Subject::of_address(IpAddr::V6(network.into())), NonZeroU32::MIN);
    }
    assert!(limit.counts.len() <= 102, "{} keys", limit.counts.len());
    let other = address("2001:db8:2::1");
    assert!(limit.charge(&other, NonZeroU32::MIN).is_ok(), "nobody else is concerned");
    assert!(limit.charge(&address("192.0.2.1"), NonZeroU32::MIN).is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_who_comes_often_is_no_crowd() {
    let mut limit = limit("1000/s burst 2");
    limit.max_keys = 10;
    let who = address("192.0.2.1");
    for _ in 0..100 {
        assert!(limit.charge(&who, NonZeroU32::MIN).is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(limit.counts.len(), 1);
}
