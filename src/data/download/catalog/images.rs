//! Sets of images.

use super::{Form, RemoteFile, RemoteSet, Tree};

pub const SETS: &[RemoteSet] = &[
    RemoteSet {
        name: "mnist",
        what: "70,000 gray 28x28 handwritten digits",
        folder: "mnist",
        addresses: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ],
        files: &[
            RemoteFile {
                name: "train-images-idx3-ubyte.gz",
                size: 9_912_422,
                sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            },
            RemoteFile {
                name: "train-labels-idx1-ubyte.gz",
                size: 28_881,
                sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            },
            RemoteFile {
                name: "t10k-images-idx3-ubyte.gz",
                size: 1_648_877,
                sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            },
            RemoteFile {
                name: "t10k-labels-idx1-ubyte.gz",
                size: 4_542,
                sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
        ],
        form: Form::Plain,
    },
    RemoteSet {
        name: "fashion-mnist",
        what: "70,000 gray 28x28 pieces of clothing, 10 classes",
        folder: "fashion-mnist",
        addresses: &["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"],
        files: &[
            RemoteFile {
                name: "train-images-idx3-ubyte.gz",
                size: 26_421_880,
                sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            },
            RemoteFile {
                name: "train-labels-idx1-ubyte.gz",
                size: 29_515,
                sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            },
            RemoteFile {
                name: "t10k-images-idx3-ubyte.gz",
                size: 4_422_102,
                sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            },
            RemoteFile {
                name: "t10k-labels-idx1-ubyte.gz",
                size: 5_148,
                sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ],
        form: Form::Plain,
    },
    RemoteSet {
        name: "cifar10",
        what: "60,000 RGB 32x32 images, 10 classes",
        folder: "cifar-10-batches-bin",
        addresses: &["https://www.cs.toronto.edu/~kriz"],
        files: &[RemoteFile {
            name: "cifar-10-binary.tar.gz",
            size: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        }],
        form: Form::Packed {
            top: "cifar-10-batches-bin",
            contents: &[
                ("data_batch_1.bin", 30_730_000),
                ("data_batch_2.bin", 30_730_000),
                ("data_batch_3.bin", 30_730_000),
                ("data_batch_4.bin", 30_730_000),
                ("data_batch_5.bin", 30_730_000),
                ("test_batch.bin", 30_730_000),
            ],
        },
    },
    RemoteSet {
        name: "cifar100",
        what: "60,000 RGB 32x32 images, 100 classes in 20 superclasses",
        folder: "cifar-100-binary",
        addresses: &["https://www.cs.toronto.edu/~kriz"],
        files: &[RemoteFile {
            name: "cifar-100-binary.tar.gz",
            size: 168_513_733,
            sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        }],
        form: Form::Packed {
            top: "cifar-100-binary",
            contents: &[("train.bin", 153_700_000), ("test.bin", 30_740_000)],
        },
    },
    RemoteSet {
        name: "svhn",
        what: "99,289 RGB 32x32 house numbers (.mat files)",
        folder: "svhn",
        addresses: &["http://ufldl.stanford.edu/housenumbers"],
        files: &[
            RemoteFile {
                name: "train_32x32.mat",
                size: 182_040_794,
                sha256: "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            },
            RemoteFile {
                name: "test_32x32.mat",
                size: 64_275_384,
                sha256: "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            },
        ],
        form: Form::Plain,
    },
    RemoteSet {
        name: "stl10",
        what: "13,000 labelled and 100,000 unlabelled RGB 96x96 images",
        folder: "stl10_binary",
        addresses: &["http://ai.stanford.edu/~acoates/stl10"],
        files: &[RemoteFile {
            name: "stl10_binary.tar.gz",
            size: 2_640_397_119,
            sha256: "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
        }],
        form: Form::Tree(Tree {
            top: "stl10_binary",
            needs: &["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin"],
            entries: 100,
            bytes: 4_000_000_000,
        }),
    },
    RemoteSet {
        name: "tiny-imagenet",
        what: "110,000 RGB 64x64 images, 200 classes",
        folder: "tiny-imagenet-200",
        addresses: &["http://cs231n.stanford.edu"],
        files: &[RemoteFile {
            name: "tiny-imagenet-200.zip",
            size: 248_100_043,
            sha256: "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
        }],
        form: Form::Tree(Tree {
            top: "tiny-imagenet-200",
            needs: &["train", "val/images", "val/val_annotations.txt", "wnids.txt"],
            entries: 200_000,
            bytes: 1_000_000_000,
        }),
    },
    RemoteSet {
        name: "eurosat",
        what: "27,000 RGB 64x64 satellite images, 10 classes",
        folder: "eurosat",
        addresses: &["http://madm.dfki.de/files/sentinel"],
        files: &[RemoteFile {
            name: "EuroSAT.zip",
            size: 94_280_567,
            sha256: "8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
        }],
        form: Form::Tree(Tree { top: "2750", needs: &["AnnualCrop", "SeaLake"], entries: 40_000, bytes: 500_000_000 }),
    },
    RemoteSet {
        name: "dtd",
        what: "5,640 RGB textures, 47 classes",
        folder: "dtd",
        addresses: &["https://www.robots.ox.ac.uk/~vgg/data/dtd/download"],
        files: &[RemoteFile {
            name: "dtd-r1.0.1.tar.gz",
            size: 625_239_812,
            sha256: "e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
        }],
        form: Form::Tree(Tree { top: "dtd", needs: &["images", "labels"], entries: 20_000, bytes: 2_000_000_000 }),
    },
    RemoteSet {
        name: "food101",
        what: "101,000 RGB photos of food, 101 classes",
        folder: "food-101",
        addresses: &["http://data.vision.ee.ethz.ch/cvl"],
        files: &[RemoteFile {
            name: "food-101.tar.gz",
            size: 4_996_278_331,
            sha256: "d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
        }],
        form: Form::Tree(Tree {
            top: "food-101",
            needs: &["images", "meta/train.txt", "meta/test.txt"],
            entries: 200_000,
            bytes: 10_000_000_000,
        }),
    },
    RemoteSet {
        name: "oxford-pets",
        what: "7,349 RGB photos of pets, 37 classes",
        folder: "oxford-pets",
        addresses: &["http://www.robots.ox.ac.uk/~vgg/data/pets/data"],
        files: &[
            RemoteFile {
                name: "images.tar.gz",
                size: 791_918_971,
                sha256: "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
            },
            RemoteFile {
                name: "annotations.tar.gz",
                size: 19_173_078,
                sha256: "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
            },
        ],
        form: Form::Tree(Tree {
            top: "",
            needs: &["images", "annotations/trainval.txt", "annotations/test.txt"],
            entries: 60_000,
            bytes: 3_000_000_000,
        }),
    },
    RemoteSet {
        name: "imagenet-r",
        what: "30,000 RGB renditions of 200 ImageNet classes",
        folder: "imagenet-r",
        addresses: &["https://people.eecs.berkeley.edu/~hendrycks"],
        files: &[RemoteFile {
            name: "imagenet-r.tar",
            size: 2_191_079_936,
            sha256: "18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
        }],
        form: Form::Tree(Tree { top: "imagenet-r", needs: &["n01443537"], entries: 60_000, bytes: 4_000_000_000 }),
    },
];
