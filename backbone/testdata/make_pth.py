import torch, collections, argparse
torch.manual_seed(0)
import sys
d=sys.argv[1]+'/'
a=torch.arange(12,dtype=torch.float32).reshape(3,4)/8
sd=collections.OrderedDict([('module.w',a),('module.t',a.t()),('module.slice',a[1:,1:3]),('module.scalar',torch.tensor(2.5)),('module.steps',torch.tensor(7))])
torch.save({'model':sd,'epoch':3,'args':argparse.Namespace(lr=1e-3,model='kat'),'optimizer':{'state':{},'param_groups':[{'lr':0.1,'params':[0,1]}]}},d+'nested.pth')
torch.save(collections.OrderedDict([('half',a.half()),('bf16',a.bfloat16()),('f64',a.double()),('i32',a.int()),('u8',(a*8).to(torch.uint8)),('bool',a>0.5)]),d+'dtypes.pt')
m=torch.nn.Linear(3,2)
torch.save({'state_dict_ema':m.state_dict(),'p':m.weight},d+'parameter.pth')
torch.save({'model':m.state_dict()},d+'legacy.pth',_use_new_zipfile_serialization=False)
torch.save(m,d+'whole_module.pth')
torch.save({'w':a},d+'protocol4.pth',pickle_protocol=4)
