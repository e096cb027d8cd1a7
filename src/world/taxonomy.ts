// The category tree of the synthetic world: 12 roots with 8 leaves each, in words that people type.
// Leaves are the categories of the dataset. Roots are part of their names ('outdoor/camping') and
// decide which advertisers compete.

const TREE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  outdoor: {
    camping: 'tent sleeping bag lantern',
    hiking: 'boots trail backpack poles',
    climbing: 'rope harness carabiner chalk',
    fishing: 'rod reel lure tackle',
    cycling: 'bike helmet pedals saddle',
    skiing: 'ski goggles bindings snow',
    kayaking: 'kayak paddle drybag river',
    running: 'trainers marathon shorts pacer',
  },
  home: {
    furniture: 'sofa table chair shelf',
    bedding: 'duvet pillow mattress sheets',
    lighting: 'lamp bulb pendant chandelier',
    storage: 'basket box drawer organiser',
    decor: 'vase mirror candle frame',
    cleaning: 'mop vacuum duster bucket',
    heating: 'radiator stove fireplace thermostat',
    curtains: 'blinds drapes rail voile',
  },
  kitchen: {
    cookware: 'pan pot skillet casserole',
    baking: 'oven tin whisk flour',
    coffee: 'espresso grinder beans filter',
    knives: 'knife sharpener cleaver board',
    tableware: 'plate bowl cutlery glass',
    appliances: 'blender toaster kettle mixer',
    preserves: 'jam jar pickle honey',
    tea: 'teapot leaves infuser oolong',
  },
  fashion: {
    dresses: 'dress gown skirt summer',
    shoes: 'sneakers heels loafers leather',
    jackets: 'coat parka blazer denim',
    jewellery: 'ring necklace earrings silver',
    watches: 'watch strap chronograph quartz',
    handbags: 'purse tote clutch satchel',
    underwear: 'socks briefs bra thermal',
    hats: 'cap beanie fedora straw',
  },
  beauty: {
    skincare: 'serum moisturiser cream cleanser',
    makeup: 'lipstick mascara palette blush',
    haircare: 'shampoo conditioner dryer curls',
    fragrance: 'perfume cologne scent spray',
    nails: 'polish manicure gel cuticle',
    shaving: 'razor blade foam beard',
    bath: 'soap bubbles scrub sponge',
    sunscreen: 'lotion spf tan aftersun',
  },
  electronics: {
    phones: 'smartphone case charger screen',
    laptops: 'notebook keyboard ultrabook dock',
    cameras: 'lens tripod mirrorless flash',
    audio: 'headphones speaker earbuds amplifier',
    televisions: 'tv oled remote soundbar',
    gaming: 'console controller joystick headset',
    wearables: 'smartwatch tracker band sensor',
    drones: 'drone propeller gimbal quadcopter',
  },
  books: {
    crime: 'detective murder mystery thriller',
    romance: 'love novel wedding heart',
    fantasy: 'dragon magic quest kingdom',
    history: 'empire war biography ancient',
    cookery: 'recipe chef dinner vegetarian',
    science: 'physics biology universe evolution',
    comics: 'manga superhero graphic issue',
    languages: 'grammar dictionary spanish vocabulary',
  },
  toys: {
    puzzles: 'jigsaw pieces riddle cube',
    dolls: 'doll dollhouse stroller outfit',
    building: 'bricks blocks castle set',
    trains: 'railway locomotive track wagon',
    plush: 'teddy bear bunny cuddly',
    boardgames: 'dice cards strategy family',
    crafts: 'glue paint beads origami',
    scooters: 'scooter wheels ramp skateboard',
  },
  pets: {
    dogs: 'leash collar kibble puppy',
    cats: 'litter scratching catnip kitten',
    fish: 'aquarium pump gravel guppy',
    birds: 'cage seed perch parrot',
    horses: 'bridle stirrup hay rider',
    rodents: 'hamster wheel bedding rabbit',
    reptiles: 'terrarium lizard heat tortoise',
    grooming: 'brush clippers flea comb',
  },
  travel: {
    flights: 'airline ticket airport seat',
    hotels: 'room spa resort suite',
    cruises: 'ship cabin deck ocean',
    luggage: 'suitcase trolley carryon tag',
    beaches: 'island sand parasol snorkel',
    citybreaks: 'museum weekend tour metro',
    rentals: 'villa cottage apartment chalet',
    safaris: 'lion jeep savanna wildlife',
  },
  finance: {
    mortgages: 'house deposit fixed remortgage',
    cards: 'credit cashback contactless limit',
    savings: 'account interest bonus isa',
    insurance: 'cover policy claim premium',
    investing: 'stocks shares fund portfolio',
    pensions: 'retirement annuity plan provider',
    loans: 'borrow repay personal rate',
    taxes: 'accountant return refund invoice',
  },
  garden: {
    plants: 'fern pot succulent shrub',
    tools: 'spade rake shears hose',
    lawns: 'mower grass turf fertiliser',
    seeds: 'tomato sow sunflower packet',
    patio: 'bench umbrella paving hammock',
    barbecues: 'grill charcoal tongs smoker',
    ponds: 'fountain liner koi lily',
    greenhouses: 'polytunnel cloche propagator pane',
  },
};

export interface Leaf {
  /** Category name in the dataset, e.g. 'outdoor/camping'. */
  readonly name: string;
  readonly root: number;
  /** The leaf's own name and four more words, of which titles and queries are made. */
  readonly words: readonly string[];
}

export const ROOTS: readonly string[] = Object.keys(TREE);

/** All leaves, root by root. */
export const LEAVES: readonly Leaf[] = Object.entries(TREE).flatMap(([root, leaves], index) =>
  Object.entries(leaves).map(([name, words]) => ({
    name: `${root}/${name}`,
    root: index,
    words: [name, ...words.split(' ')],
  })),
);

export const LEAVES_PER_ROOT: number = LEAVES.length / ROOTS.length;

export const COUNTRIES: readonly string[] = ['US', 'GB', 'DE', 'FR', 'BR', 'IN', 'JP', 'ES'];
export const GENDERS: readonly string[] = ['female', 'male', 'other'];

/** Words of titles that say nothing about the category. */
export const TITLE_FILLERS: readonly string[] = [
  'classic',
  'premium',
  'compact',
  'essential',
  'original',
  'deluxe',
  'everyday',
  'modern',
];
/** Words of queries that say nothing about the category. */
export const QUERY_FILLERS: readonly string[] = [
  'best',
  'cheap',
  'buy',
  'for',
  'near',
  'new',
  'gift',
  'sale',
];
