//! The lag chart.

use twinlake_core::Timestamp;
use twinlake_core::heartbeat::{Channel, LagSample};

const WIDTH: i64 = 860;
const HEIGHT: i64 = 240;
const LEFT: i64 = 64;
const TOP: i64 = 28;
const BOTTOM: i64 = 28;
/// A line has at most this many points. With more samples, each point is the maximum of several.
const MAX_POINTS: usize = 400;
/// Samples further apart than this are not connected by a line.
const MAX_CONNECTED_SECS: i64 = 300;

/// The lag of each channel between two times: positions and texts, from which the template draws
/// an SVG image.
pub(super) struct LagChart {
    pub width: i64,
    pub height: i64,
    /// The left end of the plot.
    pub left: i64,
    pub grid: Vec<GridLine>,
    /// The start of the horizontal axis.
    pub from: Timestamp,
    /// The end of the horizontal axis.
    pub to: Timestamp,
    /// The baseline of the texts below the horizontal axis.
    pub time_y: i64,
    pub series: Vec<ChannelSeries>,
}

/// A horizontal line of the grid, with the lag that it stands for.
pub(super) struct GridLine {
    pub y: i64,
    pub label_x: i64,
    pub label_y: i64,
    pub label: String,
}

/// The lines of one channel, and the position of its key above the plot.
pub(super) struct ChannelSeries {
    pub channel: Channel,
    pub key_start: i64,
    pub key_end: i64,
    pub key_label_x: i64,
    /// The points of each line, as SVG writes them.
    pub lines: Vec<String>,
}

impl LagChart {
    /// Computes the chart of samples between two times.
    pub(super) fn new(samples: &[LagSample], from: Timestamp, to: Timestamp) -> Self {
        let lags = |sample: &LagSample| Channel::EVERY.map(|channel| sample.lag(channel));
        let worst = samples.iter().flat_map(lags).flatten().max();
        let axis_end = axis_end(worst.unwrap_or_default());
        let span = to.secs().saturating_sub(from.secs()).max(1);
        let x = |at: Timestamp| {
            LEFT + (WIDTH - LEFT) * at.secs().saturating_sub(from.secs()).clamp(0, span) / span
        };
        let y = |secs: i64| {
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * secs.clamp(0, axis_end) / axis_end
        };
        let grid_line = |quarter: i64| {
            let secs = axis_end * quarter / 4;
            GridLine {
                y: y(secs),
                label_x: LEFT - 8,
                label_y: y(secs) + 4,
                label: duration(secs),
            }
        };
        let line = |run: &[LagSample], channel: Channel| {
            let points: Vec<String> = thin_out(run, channel)
                .iter()
                .map(|(at, secs)| format!("{},{}", x(*at), y(*secs)))
                .collect();
            points.join(" ")
        };
        let series = |(index, channel): (usize, Channel)| {
            let key_start = LEFT + 150 * i64::try_from(index).unwrap_or_default();
            ChannelSeries {
                channel,
                key_start,
                key_end: key_start + 28,
                key_label_x: key_start + 34,
                lines: connected_runs(samples)
                    .into_iter()
                    .map(|run| line(run, channel))
                    .filter(|points| !points.is_empty())
                    .collect(),
            }
        };
        Self {
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            grid: (0..=4).map(grid_line).collect(),
            from,
            to,
            time_y: HEIGHT - 8,
            series: Channel::EVERY.into_iter().enumerate().map(series).collect(),
        }
    }
}

/// The end of the vertical axis in seconds: a round number that is at least the maximum.
fn axis_end(maximum: i64) -> i64 {
    let rounds = [
        20, 60, 120, 300, 600, 1200, 3600, 7200, 14_400, 43_200, 86_400,
    ];
    let end = rounds.into_iter().find(|end| *end >= maximum);
    end.unwrap_or_else(|| (maximum / 86_400 + 1) * 86_400)
}

fn duration(secs: i64) -> String {
    match secs {
        0..=299 => format!("{secs} s"),
        300..=7199 => format!("{} min", secs / 60),
        _ => format!("{} h", secs / 3600),
    }
}

/// Splits the samples where two of them are too far apart to be connected.
fn connected_runs(samples: &[LagSample]) -> Vec<&[LagSample]> {
    let near = |one: &LagSample, next: &LagSample| one.at.plus_secs(MAX_CONNECTED_SECS) >= next.at;
    samples.chunk_by(near).collect()
}

/// Reduces the samples to `MAX_POINTS`. Keeps the maximum of each group, so that no peak is lost. Leaves
/// out samples without a lag of the channel.
fn thin_out(run: &[LagSample], channel: Channel) -> Vec<(Timestamp, i64)> {
    let group_len = run.len().div_ceil(MAX_POINTS).max(1);
    let points = run.chunks(group_len).filter_map(|group| {
        let measured = group
            .iter()
            .filter_map(|sample| Some((sample.at, sample.lag(channel)?)));
        measured.max_by_key(|(_, lag)| *lag)
    });
    points.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(minute: i64, catalog: i64) -> LagSample {
        LagSample {
            at: Timestamp::from_secs(60 * minute),
            catalog,
            permissions: 0,
            storage: None,
        }
    }

    #[test]
    fn a_peak_survives_many_samples_and_a_gap_breaks_the_line() {
        let mut samples: Vec<LagSample> = (0..5000).map(|minute| sample(minute, 1)).collect();
        samples[2500].catalog = 90;
        samples.drain(1000..1100);
        let chart = LagChart::new(
            &samples,
            Timestamp::from_millis(0),
            Timestamp::from_secs(60 * 5000),
        );
        let [catalog, ..] = chart.series.as_slice() else {
            panic!("each channel has a series");
        };
        assert_eq!(catalog.channel, Channel::Catalog);
        assert_eq!(catalog.lines.len(), 2);
        let highest = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * 90 / 120;
        assert!(
            catalog.lines[1].contains(&format!(",{highest}")),
            "the peak of 90 of 120 s"
        );
    }
}
