//! The classes of the sets whose files only number them.

pub(super) const FASHION_MNIST: &str = "t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot";

pub(super) const CIFAR10: &str = "airplane automobile bird cat deer dog frog horse ship truck";

pub(super) const CIFAR100: &str = "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus \
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur \
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man \
    maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain \
    plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider \
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe \
    whale willow_tree wolf woman worm";

pub(super) const CIFAR100_COARSE: &str = "aquatic_mammals fish flowers food_containers fruit_and_vegetables \
    household_electrical_devices household_furniture insects large_carnivores large_man-made_outdoor_things \
    large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles \
    small_mammals trees vehicles_1 vehicles_2";

/// The names of a list above, in the order of their numbers.
pub(super) fn names(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

/// The digits 0 to 9.
pub(super) fn digits() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_names_as_classes() {
        for (list, classes) in [(FASHION_MNIST, 10), (CIFAR10, 10), (CIFAR100, 100), (CIFAR100_COARSE, 20)] {
            assert_eq!(names(list).len(), classes);
        }
    }
}
