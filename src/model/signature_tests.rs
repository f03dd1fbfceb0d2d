use super::*;

fn edge(name: &str, kind: Kind) -> Edge {
    Edge { name: name.to_owned(), shown: format!("{kind:?}"), kind }
}

fn tensor(name: &str, dtype: Dtype, shape: &[i64]) -> Edge {
    edge(name, Kind::Tensor(dtype, shape.to_vec()))
}

fn feed(name: &str, dtype: Dtype, columns: &[usize]) -> Feed {
    Feed { name: name.to_owned(), dtype, columns: columns.to_vec(), flat: false }
}

fn contract(inputs: Vec<Feed>) -> Contract {
    Contract { width: 3, inputs, ..Contract::default() }
}

#[test]
fn feeds_stand_in_the_graphs_order() {
    let ours = contract(vec![feed("x", Dtype::Float64, &[2, 0]), feed("y", Dtype::Int64, &[1])]);
    let graph = [tensor("y", Dtype::Int64, &[-1]), tensor("x", Dtype::Float64, &[-1, 2])];
    let held = ours.hold_inputs(&graph).unwrap();
    assert_eq!(held, [Feed { flat: true, ..feed("y", Dtype::Int64, &[1]) }, feed("x", Dtype::Float64, &[2, 0])]);
    let open = [tensor("y", Dtype::Int64, &[-1, -1]), tensor("x", Dtype::Float64, &[-1, -1])];
    assert!(ours.hold_inputs(&open).unwrap().iter().all(|feed| !feed.flat));
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let (x, y) = (feed("x", Dtype::Float64, &[2, 0]), feed("y", Dtype::Int64, &[1]));
    let right = [tensor("x", Dtype::Float64, &[-1, 2]), tensor("y", Dtype::Int64, &[-1, 1])];
    let other = |edge: Edge| [right[0].clone(), edge];
    for (feeds, graph, said) in [
        (vec![x.clone(), feed("z", Dtype::Int64, &[1])], right.to_vec(), "[[inputs]] names \"z\""),
        (vec![x.clone()], right.to_vec(), "the graph's input \"y\" is fed by no [[inputs]]"),
        (vec![feed("z", Dtype::Int64, &[1])], right.to_vec(), "[input] name is \"z\""),
        (vec![], right.to_vec(), "[\"x\", \"y\"], and a bare file may have one"),
        (vec![], vec![edge("x", Kind::Other)], "a tensor of float32, float64 or int64 is needed"),
        (
            vec![x.clone(), y.clone()],
            other(tensor("y", Dtype::Float32, &[-1, 1])).to_vec(),
            "a tensor of int64 is needed",
        ),
        (vec![x.clone(), y.clone()], other(edge("y", Kind::Other)).to_vec(), "a tensor of int64 is needed"),
        (
            vec![x.clone(), y.clone()],
            other(tensor("y", Dtype::Int64, &[-1, 2])).to_vec(),
            "takes 2 values a row, but 1",
        ),
        (vec![x.clone(), y.clone()], other(tensor("y", Dtype::Int64, &[])).to_vec(), "the shape [], not [N, features]"),
        (vec![x.clone(), y.clone()], other(tensor("y", Dtype::Int64, &[8])).to_vec(), "takes 8 rows exactly"),
        (vec![x, y], vec![tensor("x", Dtype::Float64, &[-1]), right[1].clone()], "the shape [-1], not [N, features]"),
    ] {
        let fault = contract(feeds).hold_inputs(&graph).unwrap_err();
        assert!(fault.contains(said), "{said}: {fault}");
    }
}

#[test]
fn the_output_is_named_or_the_only_one_that_can_be() {
    let label = tensor("label", Dtype::Int64, &[-1]);
    let floats = |name: &str| tensor(name, Dtype::Float32, &[-1, 2]);
    let maps = edge("maps", Kind::TextMaps);
    let bare = contract(Vec::new());
    for (graph, name, form) in [
        (vec![label.clone(), floats("p")], "p", Form::Columns(2)),
        (vec![floats("p"), floats(PREFERRED_OUTPUT)], PREFERRED_OUTPUT, Form::Columns(2)),
        (vec![label.clone(), maps.clone()], "maps", Form::TextMaps("1".to_owned())),
        (vec![edge("n", Kind::NumberMaps)], "n", Form::NumberMaps(1)),
    ] {
        assert_eq!(bare.hold_output(&graph).unwrap(), (name.to_owned(), form));
    }
    for (graph, said) in [
        (vec![floats("p"), floats("q")], "[\"p\", \"q\"] holds the score is unclear"),
        (vec![label.clone()], "the output \"label\" is"),
        (vec![tensor("p", Dtype::Float64, &[-1, 3])], "[N, 2], [N, 1] or [N] is needed"),
    ] {
        let fault = bare.hold_output(&graph).unwrap_err();
        assert!(fault.contains(said), "{said}: {fault}");
    }
    let zipmap = |positive: Option<&str>| Contract {
        shape: Some(OutputShape::Zipmap),
        positive: positive.map(str::to_owned),
        ..contract(Vec::new())
    };
    assert_eq!(zipmap(Some("-2")).hold_output(&[edge("n", Kind::NumberMaps)]).unwrap().1, Form::NumberMaps(-2));
    let open = [tensor("p", Dtype::Float32, &[-1, -1])];
    let fault = zipmap(None).hold_output(&open).unwrap_err();
    assert!(fault.contains("[N, 2], [N, 1] or [N] is needed"), "{fault}");
}

#[test]
fn whole_numbers_of_64_bits_are_taken_exactly() {
    let feed = feed("n", Dtype::Int64, &[0]);
    for (value, whole) in [(0.0, 0), (-3.0, -3), (16_777_216.0, 1 << 24), (-BEYOND_INT64, i64::MIN)] {
        assert_eq!(feed.whole(value), Ok(whole));
    }
    for wrong in [0.5, BEYOND_INT64, f32::NAN, f32::NEG_INFINITY] {
        assert!(feed.whole(wrong).is_err() && feed.check(&[wrong]).is_err(), "{wrong}");
    }
    assert_eq!(Feed { dtype: Dtype::Float32, ..feed }.check(&[0.5]), Ok(()));
}
