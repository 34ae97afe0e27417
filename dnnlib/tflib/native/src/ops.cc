// The native ops, as TensorFlow sees them. One translation unit: TensorFlow's headers take four fifths
// of the time to compile it.
#include "op_attend.h"
#include "op_bias_act.h"
#include "op_conv_narrow.h"
#include "op_upfirdn.h"
#include "op_winograd.h"
