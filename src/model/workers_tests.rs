use std::sync::mpsc;

use super::*;

/// Scores a row of two by its first value. Says the size of each batch, then waits to be let on.
struct Gate {
    entered: mpsc::Sender<usize>,
    go: mpsc::Receiver<()>,
}

impl Scorer for Gate {
    fn width(&self) -> usize {
        2
    }

    fn score(&mut self, rows: &[f32], scores: &mut Vec<f32>) -> Result<(), InferError> {
        self.entered.send(rows.len() / 2).unwrap();
        self.go.recv().map_err(|_closed| InferError::Failed("the gate is gone".to_owned()))?;
        scores.extend(rows.iter().step_by(2));
        Ok(())
    }
}

/// Scores at once; a row whose second value is negative makes it panic.
struct Free;

impl Scorer for Free {
    fn width(&self) -> usize {
        2
    }

    fn score(&mut self, rows: &[f32], scores: &mut Vec<f32>) -> Result<(), InferError> {
        assert!(rows.iter().skip(1).step_by(2).all(|value| *value >= 0.0), "asked for");
        scores.extend(rows.iter().step_by(2));
        Ok(())
    }
}

// `go` is dropped first: the worker leaves the gate before the pool joins it.
struct Held {
    go: mpsc::Sender<()>,
    entered: mpsc::Receiver<usize>,
    pool: Pool<Gate>,
}

const LONG: Duration = Duration::from_secs(60);

/// A pool of one worker that runs a first row and stays in it.
fn held(max_batch: usize, max_queue: usize) -> (Held, oneshot::Receiver<Scores>) {
    let (entered, sizes) = mpsc::channel();
    let (go, waits) = mpsc::channel();
    let limits = Limits { max_batch, max_queue, inline: 0 };
    let pool = Pool::start(vec![Gate { entered, go: waits }], limits).unwrap();
    let held = Held { go, entered: sizes, pool };
    let first = held.submit(0.5, LONG);
    assert_eq!(held.entered.recv().unwrap(), 1);
    (held, first)
}

impl Held {
    fn submit(&self, score: f32, wait: Duration) -> oneshot::Receiver<Scores> {
        self.try_submit(score, wait).unwrap()
    }

    fn try_submit(&self, score: f32, wait: Duration) -> Result<oneshot::Receiver<Scores>, InferError> {
        self.pool.shared.submit(vec![score, 0.0], Instant::now() + wait)
    }
}

fn free(inline: usize) -> Pool<Free> {
    Pool::start(vec![Free, Free], Limits { max_batch: 8, max_queue: 8, inline }).unwrap()
}

#[test]
fn a_full_queue_refuses() {
    let (held, first) = held(8, 2);
    let waiting = [held.submit(0.1, LONG), held.submit(0.2, LONG)];
    assert_eq!(held.try_submit(0.3, LONG).unwrap_err(), InferError::Overloaded(2));
    held.go.send(()).unwrap();
    held.go.send(()).unwrap();
    assert_eq!(first.blocking_recv().unwrap(), Ok(vec![0.5]));
    let scores = waiting.map(|reply| reply.blocking_recv().unwrap().unwrap());
    assert_eq!(scores, [[0.1], [0.2]]);
    let last = held.submit(0.3, LONG);
    held.go.send(()).unwrap();
    assert_eq!(last.blocking_recv().unwrap(), Ok(vec![0.3]), "room again after the batch");
}

#[test]
fn a_batch_is_what_queued_meanwhile_up_to_the_limit() {
    let (held, first) = held(2, 8);
    let waiting = [0.1, 0.2, 0.3].map(|score| held.submit(score, LONG));
    for _ in 0..3 {
        held.go.send(()).unwrap();
    }
    assert_eq!(first.blocking_recv().unwrap(), Ok(vec![0.5]));
    let scores = waiting.map(|reply| reply.blocking_recv().unwrap().unwrap());
    assert_eq!(scores, [[0.1], [0.2], [0.3]]);
    assert_eq!(held.entered.try_iter().collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn rows_nobody_waits_for_are_not_computed() {
    let (held, _first) = held(8, 8);
    let late = held.submit(0.1, Duration::ZERO);
    drop(held.submit(0.2, LONG));
    let kept = held.submit(0.3, LONG);
    held.go.send(()).unwrap();
    held.go.send(()).unwrap();
    assert_eq!(kept.blocking_recv().unwrap(), Ok(vec![0.3]));
    assert_eq!(late.blocking_recv().unwrap(), Err(InferError::Deadline));
    assert_eq!(held.entered.try_iter().collect::<Vec<_>>(), [1], "of the three, one was computed");
    assert_eq!(held.pool.shared.queue().rows, 0);
}

#[test]
fn a_request_larger_than_a_batch_runs_alone() {
    let (held, _first) = held(2, 8);
    let small = held.submit(0.1, LONG);
    let large = held.pool.shared.submit(vec![0.2, 0.0, 0.3, 0.0, 0.4, 0.0], Instant::now() + LONG).unwrap();
    for _ in 0..3 {
        held.go.send(()).unwrap();
    }
    assert_eq!(large.blocking_recv().unwrap(), Ok(vec![0.2, 0.3, 0.4]));
    assert_eq!(small.blocking_recv().unwrap(), Ok(vec![0.1]));
    assert_eq!(held.entered.try_iter().collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test]
async fn the_caller_waits_no_longer_than_it_said() {
    let (held, _first) = held(8, 8);
    let scores = held.pool.score(vec![0.5, 0.0], Duration::from_millis(1)).await;
    assert_eq!(scores, Err(InferError::Deadline));
    assert_eq!(held.pool.score(vec![0.5, 0.0], Duration::ZERO).await, Err(InferError::Deadline));
    held.go.send(()).unwrap();
}

#[tokio::test]
async fn inline_and_queued_give_the_same() {
    let rows = vec![0.25, 0.0, 0.75, 0.0];
    for inline in [0, 2] {
        assert_eq!(free(inline).score(rows.clone(), LONG).await, Ok(vec![0.25, 0.75]));
    }
}

#[test]
fn inline_is_for_few_rows_an_empty_queue_and_a_free_slot() {
    let pool = free(1);
    assert_eq!(pool.shared.run_inline(&[0.5, 0.0]), Some(Ok(vec![0.5])));
    assert_eq!(pool.shared.run_inline(&[0.5, 0.0, 0.5, 0.0]), None, "too many rows");
    let first = pool.shared.slots[0].lock().unwrap();
    assert_eq!(pool.shared.run_inline(&[0.5, 0.0]), Some(Ok(vec![0.5])), "the other slot");
    let second = pool.shared.slots[1].lock().unwrap();
    assert_eq!(pool.shared.run_inline(&[0.5, 0.0]), None, "no slot");
    drop((first, second));
    let (held, _first) = held(8, 8);
    let _waits = held.submit(0.1, LONG);
    assert_eq!(held.pool.shared.run_inline(&[]), None, "others wait");
    held.go.send(()).unwrap();
    held.go.send(()).unwrap();
}

#[tokio::test]
async fn a_panic_fails_its_rows_and_nothing_else() {
    for inline in [0, 1] {
        let pool = free(inline);
        for _ in 0..3 {
            let scores = pool.score(vec![0.5, -1.0], LONG).await;
            assert!(matches!(scores, Err(InferError::Failed(_))), "{scores:?}");
        }
        assert_eq!(pool.score(vec![0.5, 1.0], LONG).await, Ok(vec![0.5]));
    }
}

#[tokio::test]
async fn half_a_row_is_refused() {
    assert!(matches!(free(1).score(vec![0.5], LONG).await, Err(InferError::Failed(_))));
}

#[test]
fn only_probabilities_are_scores() {
    assert_eq!(checked(vec![-1e-7, 0.5, 1.000_000_5]), Ok(vec![0.0, 0.5, 1.0]));
    for wrong in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
        assert!(matches!(checked(vec![0.5, wrong]), Err(InferError::Failed(_))), "{wrong}");
    }
}

#[test]
fn a_wrong_score_fails_its_own_request_alone() {
    let (held, _first) = held(8, 8);
    let (wrong, right) = (held.submit(7.0, LONG), held.submit(0.5, LONG));
    held.go.send(()).unwrap();
    held.go.send(()).unwrap();
    assert!(matches!(wrong.blocking_recv().unwrap(), Err(InferError::Failed(_))));
    assert_eq!(right.blocking_recv().unwrap(), Ok(vec![0.5]));
    assert_eq!(held.entered.try_iter().collect::<Vec<_>>(), [2]);
}
