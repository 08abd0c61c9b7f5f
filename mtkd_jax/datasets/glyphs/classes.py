"""The classes of both tasks, in the order of their ids."""

import itertools

DIGITS = tuple('0123456789')

# Chosen so that no two look alike: their blurred shapes, brought to one size, have a cosine below 0.9.
SCRIPTS = {
    'Greek': 'αβγδεζηθλμνξρσφχω',
    'Cyrillic': 'джлцчщыэюяђљњѣѫҩ',
    'Armenian': 'գեէըթժիլխկհձմյչջռվւփֆ',
    'Hebrew': 'אבגדהזטכלעפצקרשףץ',
    'Arabic': 'ءبجدرسطعقكلمهويشغؤ',
    'NKo': 'ߋߌߎߏߐߒߓߕߖߗߘߜߝߞߟߡߢߣߤߥ',
    'Lao': 'ກຂຄງຈຊຍຕຖທນປຜຟມຣລວສ',
    'Georgian': 'აბდვთკლნჟრტფქყჭჯჰჱჴ',
    'Canadian syllabics': 'ᐅᐊᐯᐱᐳᐸᑌᑎᑐᑕᑫᑭᑯᒋᒐᒥᒧᓀᓂᓄᓇᓭᓯᓱᓴᔦᔨᔪᔭᕃᕆᕈ',
    'Tifinagh': 'ⴱⴳⴼⴽⵀⵃⵄⵅⵉⵊⵍⵎⵓⵕⵖⵚⵛⵜⵟⵢⵣ',
}

# The scripts in turn: a data set of fewer classes has all of them.
CHARACTERS = tuple(c for c in itertools.chain(*itertools.zip_longest(*SCRIPTS.values())) if c)
