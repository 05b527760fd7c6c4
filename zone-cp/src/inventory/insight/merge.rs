//! What one stream's subscription changes in an insight. Pure.

use mesh_model::Timestamp;
use mesh_proto::mesh::{DataplaneInsight, DiscoverySubscription, Finding};

/// Writes `subscription` into `insight`, which keeps at most `limit` in the order in which they
/// connected.
///
/// Findings are those of the newest stream. One that opens ends what was left open before it, so
/// that a proxy shows online once; one that is first heard of when it has ended says nothing
/// about any other.
pub(super) fn merge(
    insight: &mut DataplaneInsight,
    subscription: &DiscoverySubscription,
    findings: &[Finding],
    now: Timestamp,
    limit: usize,
) {
    let subscriptions = &mut insight.subscriptions;
    let has_ended = subscription.disconnect_time.is_some();
    let known = subscriptions.iter().position(|s| s.id == subscription.id);
    let index = match known {
        Some(index) => {
            subscriptions[index] = subscription.clone();
            index
        }
        None => {
            let connected = connected(subscription);
            let index = subscriptions.partition_point(|s| self::connected(s) <= connected);
            if !has_ended {
                for older in subscriptions[..index]
                    .iter_mut()
                    .filter(|s| s.disconnect_time.is_none())
                {
                    older.disconnect_time = Some(now.to_proto());
                }
            }
            subscriptions.insert(index, subscription.clone());
            index
        }
    };
    let is_newest = index + 1 == subscriptions.len();
    if is_newest && (known.is_some() || !has_ended) {
        insight.findings = findings.to_vec();
    }
    while subscriptions.len() > limit {
        // Should the clock have gone back, the live stream may look like the oldest.
        let oldest = subscriptions
            .iter()
            .position(|s| s.disconnect_time.is_some());
        subscriptions.remove(oldest.unwrap_or(0));
    }
}

fn connected(subscription: &DiscoverySubscription) -> Option<Timestamp> {
    subscription
        .connect_time
        .as_ref()
        .map(Timestamp::from_proto)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 2;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    /// A subscription by when it began and ended.
    fn subscription(from: i64, to: Option<i64>) -> DiscoverySubscription {
        DiscoverySubscription {
            id: from.to_string(),
            connect_time: Some(at(from).to_proto()),
            disconnect_time: to.map(|to| at(to).to_proto()),
            ..Default::default()
        }
    }

    fn findings(message: &str) -> Vec<Finding> {
        vec![Finding {
            message: message.to_owned(),
            ..Default::default()
        }]
    }

    fn insight(times: &[(i64, Option<i64>)]) -> DataplaneInsight {
        DataplaneInsight {
            subscriptions: times.iter().map(|(f, t)| subscription(*f, *t)).collect(),
            findings: findings("of the newest"),
            ..Default::default()
        }
    }

    fn times(insight: &DataplaneInsight) -> Vec<(i64, Option<i64>)> {
        let seconds = |t: &prost_types::Timestamp| t.seconds;
        let times = insight.subscriptions.iter().map(|s| {
            (
                s.connect_time.as_ref().map_or(0, seconds),
                s.disconnect_time.as_ref().map(seconds),
            )
        });
        times.collect()
    }

    /// Merges into an insight what a stream says at time 9.
    fn merged(
        into: &[(i64, Option<i64>)],
        (from, to): (i64, Option<i64>),
    ) -> (Vec<(i64, Option<i64>)>, String) {
        let mut insight = insight(into);
        let words = findings("of the stream");
        merge(&mut insight, &subscription(from, to), &words, at(9), LIMIT);
        (times(&insight), insight.findings[0].message.clone())
    }

    #[test]
    fn a_stream_that_opens_ends_what_was_left_open_and_pushes_out_the_oldest() {
        let (times, findings) = merged(&[(1, Some(2)), (3, None)], (5, None));
        assert_eq!(times, [(3, Some(9)), (5, None)]);
        assert_eq!(findings, "of the stream");
    }

    #[test]
    fn the_late_end_of_an_older_stream_says_nothing_of_the_live_one() {
        // No longer in the insight.
        let full = [(3, Some(4)), (5, None)];
        assert_eq!(
            merged(&full, (1, Some(6))),
            (full.into(), "of the newest".to_owned())
        );
        // Between two others.
        assert_eq!(
            merged(&[(1, Some(2)), (5, None)], (3, Some(6))),
            (vec![(3, Some(6)), (5, None)], "of the newest".to_owned())
        );
        // Still in the insight.
        assert_eq!(
            merged(&[(3, None), (5, None)], (3, Some(6))),
            (vec![(3, Some(6)), (5, None)], "of the newest".to_owned())
        );
    }

    #[test]
    fn a_stream_that_had_ended_when_it_was_first_heard_of_ends_no_other() {
        assert_eq!(
            merged(&[(1, None)], (5, Some(6))),
            (vec![(1, None), (5, Some(6))], "of the newest".to_owned())
        );
    }

    #[test]
    fn of_three_open_streams_the_oldest_does_not_come_back_as_the_newest() {
        assert_eq!(
            merged(&[(3, None), (5, None)], (1, None)),
            (vec![(3, None), (5, None)], "of the newest".to_owned())
        );
    }

    #[test]
    fn a_live_stream_stays_though_the_clock_went_back() {
        assert_eq!(
            merged(&[(5, Some(6)), (7, Some(8))], (2, None)).0,
            [(2, None), (7, Some(8))]
        );
    }

    #[test]
    fn the_newest_streams_own_news_are_taken() {
        let (times, findings) = merged(&[(1, Some(2)), (5, None)], (5, Some(8)));
        assert_eq!(times, [(1, Some(2)), (5, Some(8))]);
        assert_eq!(findings, "of the stream");
    }
}
