use super::*;

pub(in crate::model) const SAMPLE: &str = r#"
name = "tiny"
version = "1"
created = "2026-01-01T00:00:00Z"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
features = ["a", "b", "c"]
[input]
name = "input"
[output]
name = "probabilities"
shape = "two_columns"
[threshold]
value = 0.5
chosen = "by hand"
[explanation]
method = "permutation_shapley"
[training]
data = "none"
parameters = { trees = 1 }
figures = { auc = 0.5 }
"#;

#[test]
fn the_sample_is_read() {
    let manifest = Manifest::parse(SAMPLE).unwrap();
    assert_eq!(manifest.features, ["a", "b", "c"]);
    assert_eq!(manifest.output.shape, OutputShape::TwoColumns);
}

/// The sample with two inputs in another order.
const TWO_INPUTS: &str = "[[inputs]]\nname = \"whole\"\ndtype = \"int64\"\nfeatures = [\"c\"]\n\
    [[inputs]]\nname = \"rest\"\ndtype = \"float64\"\nfeatures = [\"b\", \"a\"]\n";

fn with_inputs(tables: &str) -> Result<Manifest, String> {
    Manifest::parse(&SAMPLE.replacen("[input]\nname = \"input\"\n", tables, 1))
}

#[test]
fn several_inputs_take_their_features_by_name() {
    let found = with_inputs(TWO_INPUTS).unwrap().contract().inputs;
    let feed = |name: &str, dtype, columns: &[usize]| Feed {
        name: name.to_owned(),
        dtype,
        columns: columns.to_vec(),
        flat: false,
    };
    assert_eq!(found, [feed("whole", Dtype::Int64, &[2]), feed("rest", Dtype::Float64, &[1, 0])]);
    let one = Manifest::parse(SAMPLE).unwrap().contract().inputs;
    assert_eq!(one, [feed("input", Dtype::Float32, &[0, 1, 2])]);
}

#[test]
fn inputs_take_each_feature_once() {
    for (from, to, said) in [
        ("[\"c\"]", "[]", "\"whole\" stands twice or takes no feature"),
        ("\"rest\"", "\"whole\"", "\"whole\" stands twice"),
        ("[\"c\"]", "[\"d\"]", "\"d\", which is not in features"),
        ("[\"c\"]", "[\"a\"]", "\"a\" is taken twice"),
        ("\"b\", ", "", "no input takes \"b\""),
        ("int64", "int8", "int8"),
        ("[[inputs]]", "[input]\nname = \"input\"\n[[inputs]]", "one of the two"),
    ] {
        let fault = with_inputs(&TWO_INPUTS.replacen(from, to, 1)).unwrap_err();
        assert!(fault.contains(said), "{said}: {fault}");
    }
    assert!(with_inputs("").unwrap_err().contains("input is missing"));
}

#[test]
fn a_fault_names_its_key() {
    for (from, to, key) in [
        ("name = \"tiny\"", "name = \"tiny\"\nnmae = 1", "nmae"),
        ("name = \"tiny\"", "name = \"../x\"", "name"),
        ("value = 0.5", "value = 1.5", "threshold.value"),
        ("value = 0.5", "value = nan", "threshold.value"),
        ("\"c\"]", "\"a\"]", "features"),
        ("[\"a\", \"b\", \"c\"]", "[]", "features"),
        ("two_columns", "three_columns", "three_columns"),
        ("two_columns\"", "two_columns\"\nlink = \"logit\"", "output.link"),
        ("two_columns\"", "zipmap\"\nlink = \"logit\"", "output.link"),
        ("two_columns\"", "one_column\"\nlink = \"probit\"", "probit"),
        ("two_columns\"", "flat\"\nlink = \"logit\"\nmargin = \"raw\"", "output.margin"),
        ("two_columns\"", "two_columns\"\npositive = \"1\"", "output.positive"),
        ("version = \"1\"", "", "version"),
        ("2026-01-01T00:00:00Z", "yesterday", "created"),
        ("sha256 = \"0", "sha256 = \"G", "sha256"),
        ("permutation_shapley", "baseline_ablation", "baseline_ablation"),
        ("permutation_shapley", "tree_shap", "explanation.sha256"),
        ("permutation_shapley\"", "permutation_shapley\"\nsha256 = \"ab\"", "explanation.sha256"),
        (
            "permutation_shapley\"",
            &format!("permutation_shapley\"\nsha256 = \"{}\"", "a".repeat(64)),
            "explanation.sha256",
        ),
        ("[training]", "[calibration]\nmethod = \"platt\"\nslope = -1\nintercept = 0\n[training]", "calibration.slope"),
        ("[training]", "[calibration]\nmethod = \"isotonic\"\nslope = 1\nintercept = 0\n[training]", "isotonic"),
    ] {
        assert!(SAMPLE.contains(from), "{from}");
        let fault = Manifest::parse(&SAMPLE.replacen(from, to, 1)).unwrap_err();
        assert!(fault.contains(key), "{key}: {fault}");
    }
}
